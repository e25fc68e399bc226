#include "gemm/pixel_rows_kernel.h"

#include <type_traits>

#include "gemm/epilogue_gradient-inl.h"
#include "gemm/row_product-inl.h"

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
            if (*row_) prefetch(static_cast<const char*>(*row_) + at_);
            at_ += kLine;
            if (at_ < size_) continue;
            at_ = 0;
            ++row_;
        }
    }

  private:
    static constexpr int64_t kLine = 64;
    const void* const* row_;
    const void* const* end_;
    int64_t size_, part_;
    int64_t at_ = 0;  // within the row
};

inline int64_t tiles_in(int64_t rows, int64_t columns) {
    return (rows + kMR - 1) / kMR * ((columns + kNR - 1) / kNR);
}

template <class Stored, class Dz, class Gradient>
void backward_rows(const ActivationBackward& p, const Gradient& gradient) {
    for (int64_t r = 0; r < p.rows; ++r)
        gradient_row(static_cast<const Stored*>(p.grad[r]), static_cast<const Stored*>(p.out[r]),
                     static_cast<Dz*>(p.dz) + r * p.dz_stride, p.dbias, p.columns,
                     [&](Vec grad, Vec out, int64_t n)
                         DIGAN_FAST_INLINE_LAMBDA { return gradient(grad, out, r, n); });
}

template <class Stored, class Dz>
void backward(const ActivationBackward& p) {
    const EpilogueGradient<Stored> epilogue(p.activation);
    if (p.activation.activation == Activation::sine) {
        const auto of_sine = [&](Vec grad, Vec out, int64_t r, int64_t n) DIGAN_FAST_INLINE_LAMBDA {
            return epilogue.of_sine(grad, out, load_some(p.z + r * p.columns + n, p.columns - n));
        };
        return backward_rows<Stored, Dz>(p, of_sine);
    }
    const auto of = [&](Vec grad, Vec out, int64_t, int64_t)
                        DIGAN_FAST_INLINE_LAMBDA { return epilogue.of(grad, out); };
    backward_rows<Stored, Dz>(p, of);
}

void pack_bfloat16(const ColumnPanelPacking& p) {
    using T = Bfloat16Element;
    const Bfloat16* const weight = static_cast<const Bfloat16*>(p.weight);
    for (int64_t n = p.first; n < p.last;) {
        const int64_t width = panel_width<T>(p.columns, n);
        const int64_t count = p.columns - n < width ? p.columns - n : width;
        T* const panel = panel_at<T>(p.panels, n, packed_depth<T>(p.depth));
        if (p.column_stride == 1) {
            pack_along_rows(weight + n, p.depth_stride, p.depth, p.columns - n, width, panel,
                            width);
        } else {
            pack_transposed(weight + n * p.column_stride, p.column_stride, count, p.depth, panel,
                            width);
        }
        n += width;
    }
}

template <class Stored>
void gemm(const PixelRowGemm& p) {
    const Epilogue how{.activation = p.activation.activation,
                       .gain = p.activation.gain,
                       .clamp = p.activation.clamp,
                       .round = Number::float32};
    const Vec start_scale = broadcast(p.start.scale), scale = broadcast(p.scale);
    Prefetcher next(p.next, tiles_in(p.rows, p.columns));
    const auto start = [&]<int R, int V>(Tile<R, V>& tile, int64_t,
                                         int64_t n) DIGAN_FAST_INLINE_LAMBDA {
        Vec bias[V];
        for (int v = 0; v < V; ++v) {
            const int64_t column = n + v * Vec::width;
            bias[v] = p.start.bias
                          ? mul(start_scale, load_some(p.start.bias + column, p.columns - column))
                          : broadcast(0.0f);
        }
        for_each_vector(tile, [&](Vec& z, int, int v) DIGAN_FAST_INLINE_LAMBDA { z = bias[v]; });
    };
    const auto finish = [&]<int R, int V>(Tile<R, V>& tile, int64_t row,
                                          int64_t n) DIGAN_FAST_INLINE_LAMBDA {
        if (p.scale != 1) {
            for_each_vector(tile,
                            [&](Vec& z, int, int) DIGAN_FAST_INLINE_LAMBDA { z = mul(scale, z); });
        }
        apply_epilogue(tile, how);
        // Not a template's argument, which would compile each product twice.
        if (sizeof(Stored) == sizeof(float) || p.out_number == Number::float32) {
            store_rows<float>(tile, p.out + row, n, p.columns, p.non_temporal);
        } else {
            store_rows<Bfloat16>(tile, p.out + row, n, p.columns, p.non_temporal);
        }
    };
    // Float32: a part of the next panel for each row; what follows the last is a convolution's next
    // factor. A convolution of 512 channels, whose panels come from memory, takes 0.89 of the time
    // on a Zen 5 EPYC; where panels are in L2, a product takes as long as before.
    const int64_t part = sizeof(Stored) == sizeof(float) ? kNR * p.depth / p.rows : 0;
    const auto ahead = [&](int64_t r, int64_t row, int64_t n) DIGAN_FAST_INLINE_LAMBDA {
        if (r == 0) next.part();
        const float* const panel = p.panels + (n + kNR) * p.depth + (row + r) * part;
        for (int64_t i = 0; i < part; i += 16) prefetch(panel + i);
    };
    multiply_rows<Stored>(p, ahead, start, finish);
    if (p.non_temporal) fence_streaming();
}

// dzᵀ in panels for AMX, [outputs, rows].
template <class T, class Stored>
void pack_gradient_panels(const WeightGradient& p, const Stored* dz, T* packed) {
    const int64_t depth = packed_depth<T>(p.rows);
    for_each_panel<T>(p.outputs, [&](auto mr, int64_t n) {
        constexpr int R = decltype(mr)::value;
        T* const panel = packed + n * depth;
        if constexpr (kOnAmx<R>) {
            pack_amx_lanes<R>(dz + n, p.dz_stride, p.rows, panel);
        } else {
            T lanes[Vec::width];
            for (int64_t k = 0; k < depth; ++k) {
                pack_lanes(dz + n, p.dz_stride, k, p.rows, R, lanes);
                memcpy(panel + k * R, lanes, R * sizeof(T));
            }
        }
    });
}

// Columns of a matrix along the rows of a product.
template <class T>
struct Columns {
    const T* at;
    int64_t stride;
};

// The longest rows that are read where they are. Of 512 columns, a strip in L2 is read more slowly
// than packed once.
constexpr int64_t kDirectStride = 272;

// `width` columns of x from `first` on, of `count`; what follows the last one is arbitrary. Rows of
// float32 that have so many are read where they are if an odd number of cache lines apart, as
// padded ones: they do not displace one another.
template <class T, class Stored>
Columns<T> columns_at(const Stored* x, int64_t stride, int64_t rows, int64_t first, int64_t count,
                      int64_t width, T* tail) {
    if constexpr (std::is_same_v<T, Stored>) {
        constexpr int64_t line = 64 / sizeof(T);
        const bool odd_lines = stride % (2 * line) == line;
        if (odd_lines && stride <= kDirectStride && first + width <= stride)
            return {x + first, stride};
    }
    pack_along_rows(x + first, stride, rows, count - first, width, tail, width);
    return {tail, width};
}

// Whether a weight's gradient takes less than half the multiplications with outputs as lanes.
inline bool inputs_as_rows(const WeightGradient& p) {
    const auto vectors = [](int64_t lanes) { return (lanes + Vec::width - 1) / Vec::width; };
    return 2 * p.inputs * vectors(p.outputs) < p.outputs * vectors(p.inputs);
}

// into[n][i] += Σ_r x[r][i] · dz[r][n], outputs n being lanes: of a few inputs.
void add_narrow_weight_gradient(const WeightGradient& p) {
    const auto dz = static_cast<const float*>(p.dz), x = static_cast<const float*>(p.x);
    const int64_t tiles = tiles_in(p.inputs, p.outputs);
    Prefetcher next[2] = {{p.next[0], tiles}, {p.next[1], tiles}};
    Columns<float> columns{};
    const auto start = [&](int64_t n, int64_t width) {
        columns = columns_at(dz, p.dz_stride, p.rows, n, p.outputs, width, p.tail);
    };
    for_each_tile_of_rows<float>(
        p.inputs, p.outputs, start,
        [&](auto mr, auto vectors, int64_t i, int64_t n, int64_t width) {
            constexpr int R = decltype(mr)::value, V = decltype(vectors)::value;
            for (Prefetcher& part : next) part.part();
            Tile<R, V> sums{};
            microkernel(sums, p.rows, x + i, p.x_stride, columns.at, columns.stride);
            float lanes[R][V * Vec::width];
            store_tile(sums, lanes[0], V * Vec::width);
            const int64_t count = p.outputs - n < width ? p.outputs - n : width;
            for (int64_t lane = 0; lane < count; ++lane)
                for (int r = 0; r < R; ++r) p.into[(n + lane) * p.inputs + i + r] += lanes[r][lane];
        });
}

template <class Stored>
void add_weight_gradient(const WeightGradient& p) {
    using T = Packed<Stored>;
    constexpr bool kRowsAsTheyAre = sizeof(Stored) == sizeof(float);
    constexpr bool kInPanels = kMostRows<T> > kMR;
    const auto dz = static_cast<const Stored*>(p.dz), x = static_cast<const Stored*>(p.x);
    const int64_t depth = packed_depth<T>(p.rows);
    const T* rows;
    if constexpr (kRowsAsTheyAre) {
        if (inputs_as_rows(p)) return add_narrow_weight_gradient(p);
        rows = dz;
    } else {
        T* const packed = panel_at<T>(p.packed_dz, 0, depth);
        const int64_t width = (p.outputs + Vec::width - 1) / Vec::width * Vec::width;
        if constexpr (kInPanels) {
            pack_gradient_panels(p, dz, packed);
        } else {
            pack_along_rows(dz, p.dz_stride, p.rows, p.outputs, width, packed, p.dz_stride);
        }
        rows = packed;
    }
    const int64_t tiles = tiles_in(p.outputs, p.inputs);
    Prefetcher next[2] = {{p.next[0], tiles}, {p.next[1], tiles}};
    Columns<T> columns{};
    const auto start = [&](int64_t i, int64_t width) {
        columns =
            columns_at(x, p.x_stride, p.rows, i, p.inputs, width, panel_at<T>(p.tail, 0, depth));
    };
    const auto on_amx = [&](auto mr, int64_t n, int64_t, int64_t,
                            auto& due) DIGAN_FAST_INLINE_LAMBDA {
        for (Prefetcher& part : next) part.part();
        amx_product<decltype(mr)::value, Streamed::panel>(due.sums(), depth, rows + n * depth,
                                                          columns.at, columns.stride, due);
    };
    const auto add_slice = [&](const float* sums, int64_t n, int64_t i) DIGAN_FAST_INLINE_LAMBDA {
        const auto slice = slice_of(sums);
        for_each_vector(slice, [&](const Vec& sum, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
            const int64_t column = i + v * Vec::width, some = p.inputs - column;
            float* const to = p.into + (n + r) * p.inputs + column;
            store_some(to, some, add(load_some(to, some), sum));
        });
    };
    const auto add_tile = [&](auto mr, auto vectors, int64_t n, int64_t i, int64_t width) {
        constexpr int R = decltype(mr)::value, V = decltype(vectors)::value;
        const int64_t count = p.inputs - i < width ? p.inputs - i : width;
        for (Prefetcher& part : next) part.part();
        float* const into = p.into + n * p.inputs + i;
        Tile<R, V> sums{};
        // The sums of the next tile down.
        const auto ahead = [&](int64_t r) DIGAN_FAST_INLINE_LAMBDA {
            if (n + R + r < p.outputs)
                for (int64_t j = 0; j < count; j += 16) prefetch(into + (R + r) * p.inputs + j);
        };
        microkernel(sums, depth, rows + (kInPanels ? n * depth : n), kInPanels ? R : p.dz_stride,
                    columns.at, columns.stride, ahead);
        for_each_vector(sums, [&](const Vec& sum, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
            float* const to = into + r * p.inputs + v * Vec::width;
            const int64_t some = count - v * Vec::width;
            store_some(to, some, add(load_some(to, some), sum));
        });
    };
    for_each_tile_of_rows<T, 1>(p.outputs, p.inputs, start, on_amx, add_slice, add_tile);
}

}  // namespace

void pack_column_panels(const ColumnPanelPacking& p) {
    if (p.number == Number::bfloat16) return pack_bfloat16(p);
    const float* const weight = static_cast<const float*>(p.weight);
    for (int64_t n = p.first; n < p.last;) {
        const int64_t width = panel_width(p.columns, n);
        const int64_t count = p.columns - n < width ? p.columns - n : width;
        float* const panel = p.panels + n * p.depth;
        for (int64_t k = 0; k < p.depth; ++k) {
            const float* const from = weight + k * p.depth_stride + n * p.column_stride;
            float* const to = panel + k * width;
            for (int64_t i = 0; i < count; ++i) to[i] = from[i * p.column_stride] * p.scale;
            for (int64_t i = count; i < width; ++i) to[i] = 0;
        }
        n += width;
    }
}

void pixel_row_gemm(const PixelRowGemm& p) {
    const AmxScope amx;
    with_stored(p.number, [&](auto stored) { gemm<typename decltype(stored)::Type>(p); });
}

void weight_gradient(const WeightGradient& p) {
    const AmxScope amx;
    with_stored(p.number, [&](auto x) { add_weight_gradient<typename decltype(x)::Type>(p); });
}

void activation_backward(const ActivationBackward& p) {
    if (p.dz_number == Number::bfloat16) return backward<Bfloat16, Bfloat16>(p);
    with_stored(p.number, [&](auto out) { backward<typename decltype(out)::Type, float>(p); });
}

}  // namespace digan_fast::DIGAN_FAST_ISA
