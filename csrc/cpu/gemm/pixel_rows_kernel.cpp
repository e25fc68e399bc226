#include "gemm/pixel_rows_kernel.h"

#include "gemm/pack_rows-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Prefetches `next` in `times` parts.
class Prefetcher {
  public:
    Prefetcher(const PrefetchRows& next, int64_t times)
        : row_(next.rows),
          end_(next.rows + next.count),
          size_(next.size),
          part_((next.count * ((next.size + kLine - 1) / kLine) + times - 1) / times) {}
    DIGAN_FAST_INLINE void part() {
        for (int64_t i = 0; i < part_ && row_ < end_; ++i) {
            if (*row_) prefetch(*row_ + at_);
            at_ += kLine;
            if (at_ < size_) continue;
            at_ = 0;
            ++row_;
        }
    }

  private:
    static constexpr int64_t kLine = 16;
    const float* const* row_;
    const float* const* end_;
    int64_t size_, part_;
    int64_t at_ = 0;  // within the row
};

inline int64_t tiles_in(int64_t rows, int64_t columns) {
    return (rows + kMR - 1) / kMR * ((columns + kNR - 1) / kNR);
}

// The derivative of lrelu, relu or linear, from its output `out`.
DIGAN_FAST_INLINE float slope_at(Activation activation, float out) {
    if (activation == Activation::lrelu) return out > 0 ? 1.0f : kSlope;
    if (activation == Activation::relu) return out > 0 ? 1.0f : 0.0f;
    return 1.0f;
}

template <Activation A>
void slope(const ActivationBackward& p) {
    const float gain = p.activation.gain, clamp = p.activation.clamp;
    for (int64_t r = 0; r < p.rows; ++r) {
        const float *const grad = p.grad[r], *const out = p.out[r];
        float* const dz = p.dz + r * p.dz_stride;
        if (!grad) {
            for (int64_t n = 0; n < p.columns; ++n) dz[n] = 0;
            continue;
        }
        if constexpr (A == Activation::sine) {
            const float* const z = p.z + r * p.columns;
            constexpr int64_t kChunk = 64;
            float sine[kChunk], cosine[kChunk];
            for (int64_t n = 0; n < p.columns; n += kChunk) {
                const int64_t count = p.columns - n < kChunk ? p.columns - n : kChunk;
                sincos_n(z + n, sine, cosine, count);
                for (int64_t i = 0; i < count; ++i) dz[n + i] = grad[n + i] * cosine[i] * gain;
            }
        } else {
#pragma omp simd
            for (int64_t n = 0; n < p.columns; ++n) dz[n] = grad[n] * slope_at(A, out[n]) * gain;
        }
        if (clamp < INFINITY) {
            // A NaN is not below the clamp, so it gets no gradient.
#pragma omp simd
            for (int64_t n = 0; n < p.columns; ++n) dz[n] = fabsf(out[n]) < clamp ? dz[n] : 0.0f;
        }
        float* const dbias = p.dbias;
#pragma omp simd
        for (int64_t n = 0; n < p.columns; ++n) dbias[n] += dz[n];
    }
}

}  // namespace

void pack_column_panels(const ColumnPanelPacking& p) {
    for (int64_t n = p.first; n < p.last;) {
        const int64_t width = panel_width(p.columns, n);
        const int64_t count = p.columns - n < width ? p.columns - n : width;
        float* const panel = p.panels + n * p.depth;
        for (int64_t k = 0; k < p.depth; ++k) {
            const float* const from = p.weight + k * p.depth_stride + n * p.column_stride;
            float* const to = panel + k * width;
            for (int64_t i = 0; i < count; ++i) to[i] = from[i * p.column_stride] * p.scale;
            for (int64_t i = count; i < width; ++i) to[i] = 0;
        }
        n += width;
    }
}

void pixel_row_gemm(const PixelRowGemm& p) {
    const Epilogue how{.activation = p.activation.activation,
                       .gain = p.activation.gain,
                       .clamp = p.activation.clamp,
                       .round = false};
    const Vec scale = broadcast(p.start.scale);
    Prefetcher next(p.next, tiles_in(p.rows, p.columns));
    pack_rows(p.x, p.x_stride, p.rows, p.depth, p.packed);
    for_each_tile_of_rows(
        p.rows, p.columns, [&](auto mr, auto vectors, int64_t row, int64_t n, int64_t width) {
            constexpr int R = decltype(mr)::value, V = decltype(vectors)::value;
            next.part();
            Tile<R, V> tile;
            for (int v = 0; v < V; ++v) {
                const int64_t column = n + v * Vec::width, count = p.columns - column;
                const Vec bias = p.start.bias ? mul(scale, load_some(p.start.bias + column, count))
                                              : broadcast(0.0f);
                for (int r = 0; r < R; ++r)
                    tile.v[r][v] =
                        p.start.base
                            ? fma(scale, load_some(p.start.base[row + r] + column, count), bias)
                            : bias;
            }
            microkernel(tile, p.depth, p.packed + row * p.depth, R, p.panels + n * p.depth, width);
            apply_epilogue(tile, how);
            for (int r = 0; r < R; ++r)
                for (int v = 0; v < V; ++v) {
                    const int64_t column = n + v * Vec::width;
                    if (p.non_temporal) {
                        store_streaming(p.out[row + r] + column, tile.v[r][v]);
                    } else {
                        store_some(p.out[row + r] + column, p.columns - column, tile.v[r][v]);
                    }
                }
        });
    if (p.non_temporal) fence_streaming();
}

void weight_gradient(const WeightGradient& p) {
    const int64_t tiles = tiles_in(p.outputs, p.inputs);
    Prefetcher next[2] = {{p.next[0], tiles}, {p.next[1], tiles}};
    // The tile's columns of x, [rows][width], with zeros past the last one.
    const auto pack_lanes = [&](int64_t i, int64_t width) {
        const int64_t count = p.inputs - i < width ? p.inputs - i : width;
        const float* const columns = p.x + i;
        for (int64_t r = 0; r < p.rows; ++r) {
            if (count < width) {
                for (int64_t j = 0; j < width; ++j)
                    p.tail[r * width + j] = j < count ? columns[r * p.x_stride + j] : 0.0f;
            } else {
                for (int64_t j = 0; j < width; j += Vec::width)
                    store(p.tail + r * width + j, load(columns + r * p.x_stride + j));
            }
        }
    };
    const auto add_tile = [&](auto mr, auto vectors, int64_t n, int64_t i, int64_t width) {
        constexpr int R = decltype(mr)::value, V = decltype(vectors)::value;
        const int64_t count = p.inputs - i < width ? p.inputs - i : width;
        for (Prefetcher& part : next) part.part();
        float* const into = p.into + n * p.inputs + i;
        Tile<R, V> tile;
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                tile.v[r][v] =
                    load_some(into + r * p.inputs + v * Vec::width, count - v * Vec::width);
        // The sums of the next tile down.
        for (int64_t r = R; r < 2 * R && n + r < p.outputs; ++r)
            for (int64_t j = 0; j < count; j += 16) prefetch(into + r * p.inputs + j);
        microkernel(tile, p.rows, p.dz + n, p.dz_stride, p.tail, width);
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < V; ++v)
                store_some(into + r * p.inputs + v * Vec::width, count - v * Vec::width,
                           tile.v[r][v]);
    };
    for_each_tile_of_rows(p.outputs, p.inputs, pack_lanes, add_tile);
}

void activation_backward(const ActivationBackward& p) {
    switch (p.activation.activation) {
        case Activation::lrelu:
            return slope<Activation::lrelu>(p);
        case Activation::relu:
            return slope<Activation::relu>(p);
        case Activation::sine:
            return slope<Activation::sine>(p);
        default:
            return slope<Activation::linear>(p);
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
