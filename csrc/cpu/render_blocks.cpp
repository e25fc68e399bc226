#include "render_blocks.h"

#include "layer_product.h"
#include "waves.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// The lanes of a block: its columns and rows.
inline int lane_column(int lane) { return (lane & 1) | (lane >> 1 & 2) | (lane >> 2 & 4); }
inline int lane_row(int lane) { return (lane >> 1 & 1) | (lane >> 2 & 2); }

#if defined(__AVX512F__)
// The waves of a block, sin(a + b) and cos(a + b) from those of columns and rows.
template <class Put>
inline void waves_of(const Block& block, int64_t sinusoids, const Put& put) {
    const __m512i columns = _mm512_set_epi32(3, 2, 3, 2, 1, 0, 1, 0, 3, 2, 3, 2, 1, 0, 1, 0);
    const __m512i rows = _mm512_set_epi32(3, 3, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0, 1, 1, 0, 0);
    const __m512i four = _mm512_set1_epi32(4), eight = _mm512_set1_epi32(8);
    const __m512i right = _mm512_add_epi32(columns, four);
    for (int64_t k = 0; k < sinusoids; ++k) {
        const __m512 x = _mm512_loadu_ps(block.across + k * 2 * kBlockColumns);
        const __m512 y = _mm512_castps256_ps512(_mm256_loadu_ps(block.down + k * 2 * kBlockRows));
        const Vec sin_y{_mm512_permutexvar_ps(rows, y)};
        const Vec cos_y{_mm512_permutexvar_ps(_mm512_add_epi32(rows, four), y)};
        for (int v = 0; v < 2; ++v) {
            const __m512i lanes = v ? right : columns;
            const Vec sin_x{_mm512_permutexvar_ps(lanes, x)};
            const Vec cos_x{_mm512_permutexvar_ps(_mm512_add_epi32(lanes, eight), x)};
            const Vec minus_sin_y{_mm512_sub_ps(_mm512_setzero_ps(), sin_y.v)};
            put(k, v, fma(sin_y, cos_x, mul(cos_y, sin_x)),
                fma(minus_sin_y, sin_x, mul(cos_y, cos_x)));
        }
    }
}
#else
template <class Put>
inline void waves_of(const Block& block, int64_t sinusoids, const Put& put) {
    for (int64_t k = 0; k < sinusoids; ++k) {
        const float* x = block.across + k * 2 * kBlockColumns;
        const float* y = block.down + k * 2 * kBlockRows;
        float sin_x[kLanes], cos_x[kLanes], sin_y[kLanes], cos_y[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            sin_x[lane] = x[lane_column(lane)];
            cos_x[lane] = x[kBlockColumns + lane_column(lane)];
            sin_y[lane] = y[lane_row(lane)];
            cos_y[lane] = y[kBlockRows + lane_row(lane)];
        }
        for (int v = 0; v < kLanes / Vec::width; ++v) {
            const int at = v * Vec::width;
            const Vec sx = load(sin_x + at), cx = load(cos_x + at);
            const Vec sy = load(sin_y + at), cy = load(cos_y + at);
            put(k, v, fma(sy, cx, mul(cy, sx)), fma(mul(broadcast(-1.0f), sy), sx, mul(cy, cx)));
        }
    }
}
#endif

void put_waves(float* out, const Block& block, int64_t sinusoids, bool round) {
    waves_of(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        float* const to = out + 2 * k * kLanes + v * Vec::width;
        store(to, sin);
        store(to + kLanes, cos);
        if (!round) return;
        for (int i = 0; i < Vec::width; ++i) {
            to[i] = to_bfloat16(to[i]);
            to[kLanes + i] = to_bfloat16(to[kLanes + i]);
        }
    });
}

#if defined(__AVX512BF16__)
void put_waves(Pair* out, const Block& block, int64_t sinusoids, bool) {
    waves_of(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        Tile<2> tile;
        tile.v[0][0] = tile.v[0][1] = sin;
        tile.v[1][0] = tile.v[1][1] = cos;
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(sin.v));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(cos.v));
        _mm512_storeu_si512(out + k * kLanes + v * Vec::width,
                            _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    });
}
#endif

// What a product starts from, in the lanes of vector v.
struct Upsampled {
    const Block* blocks;
    DIGAN_FAST_INLINE Vec operator()(int block, int64_t row, int v) const {
        return each_four_times(blocks[block].base + row * kLanes + v * (Vec::width / 4));
    }
};

// Panels and activations of T: float, or pairs of bfloat16.
template <class T>
struct Node {
    const NodeParams& p;
    const bool round;
    const int64_t step = p.widest * kLanes;
    T* const scratch[3] = {reinterpret_cast<T*>(p.scratch),
                           reinterpret_cast<T*>(p.scratch) + p.count * step,
                           reinterpret_cast<T*>(p.scratch) + 2 * p.count * step};

    // Activations to the rows of `to`.
    template <class Start>
    void layer(const PackedLayer& layer, const Start& start, const T* from, T* to) const {
        product(layer, p.count, start, from, step, finishing(layer, round),
                [&](const auto& tile, int block, int64_t row, int lane) {
                    put(tile, to + block * step + row / kTogether<T> * kLanes + lane, kLanes);
                });
    }

    void run() const {
        const Stage& stage = *p.stage;
        for (int b = 0; b < p.count; ++b)
            put_waves(scratch[0] + b * step, p.blocks[b], stage.sinusoids, round);
        T *x = scratch[1], *y = scratch[2];
        if (p.blocks[0].base) {
            layer(stage.waves, Upsampled{p.blocks}, scratch[0], x);
        } else {
            layer(stage.waves, Bias{stage.waves.bias}, scratch[0], x);
        }
        for (int b = 0; b < p.count; ++b) start_colours(p.blocks[b], stage.colours);
        for (const PackedLevel* level = stage.levels; level != stage.levels + stage.count;
             ++level) {
            for (int64_t i = 0; i < level->count; ++i) {
                layer(level->layers[i], Bias{level->layers[i].bias}, x, y);
                T* const swapped = x;
                x = y;
                y = swapped;
            }
            add_colours(level->to_rgb, x);
        }
        if (stage.base) {
            product(*stage.base, p.count, Bias{stage.base->bias}, x, step,
                    finishing(*stage.base, false),
                    [&](const auto& tile, int block, int64_t row, int lane) {
                        put(tile, p.blocks[block].base_out + row * kLanes + lane, kLanes);
                    });
        }
    }

    static void start_colours(const Block& block, int64_t colours) {
        for (int64_t c = 0; c < colours; ++c) {
            for (int v = 0; v < kLanes / Vec::width; ++v) {
                const Vec start =
                    block.rgb_in ? each_four_times(block.rgb_in + c * kLanes + v * (Vec::width / 4))
                                 : broadcast(0.0f);
                store(block.rgb_out + c * kLanes + v * Vec::width, start);
            }
        }
    }

    void add_colours(const PackedLayer& to_rgb, const T* x) const {
        const float* panel = to_rgb.panels;
        for (int64_t row = 0; row < to_rgb.outputs;) {
            const int rows = panel_rows(to_rgb.outputs - row);
            by_rows(rows, [&](auto rows_) {
                constexpr int R = decltype(rows_)::count;
                for (int b = 0; b < p.count; ++b) {
                    for (int lane = 0; lane < kLanes; lane += kTile) {
                        Tile<R> tile;
                        for (int r = 0; r < R; ++r)
                            tile.v[r][0] = tile.v[r][1] = broadcast(to_rgb.bias[row + r]);
                        multiply(tile, to_rgb.depth / kTogether<T>, panel, R, x + b * step + lane,
                                 kLanes);
                        finish(tile, finishing(to_rgb, false));
                        float* const out = p.blocks[b].rgb_out + row * kLanes + lane;
                        for (int r = 0; r < R; ++r)
                            for (int v = 0; v < 2; ++v)
                                tile.v[r][v] =
                                    add(tile.v[r][v], load(out + r * kLanes + v * Vec::width));
                        put(tile, out, kLanes);
                    }
                }
            });
            panel += rows * to_rgb.depth;
            row += rows;
        }
    }
};

}  // namespace

void render_waves(const WaveParams& p) {
    const Axis axis{p.frequency, p.phase, p.sinusoids, p.axis, p.side};
    for (int64_t g = 0; g < p.groups; ++g) {
        float* const waves = p.waves + g * p.sinusoids * 2 * p.group;
        axis_waves(axis, p.first + g * p.group, p.group,
                   [&](int64_t k, int64_t i, float sine, float cosine) {
                       waves[k * 2 * p.group + i] = sine;
                       waves[k * 2 * p.group + p.group + i] = cosine;
                   });
    }
}

void render_node(const NodeParams& p) {
#if defined(__AVX512BF16__)
    if (p.stage->precision == Precision::bfloat16) return Node<Pair>{p, false}.run();
#endif
    Node<float>{p, p.stage->precision == Precision::bfloat16}.run();
}

}  // namespace digan_fast::DIGAN_FAST_ISA
