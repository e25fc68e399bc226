#pragma once

// What a node of blocks does in every precision: waves of its pixels, colours.

#include "layer_product.h"
#include "render_blocks.h"

namespace digan_fast::DIGAN_FAST_ISA {

// The lanes of a block: its columns and rows.
static inline int lane_column(int lane) { return (lane & 1) | (lane >> 1 & 2) | (lane >> 2 & 4); }
static inline int lane_row(int lane) { return (lane >> 1 & 1) | (lane >> 2 & 2); }

// a·b + c, rounded once where there is an instruction for it, or twice everywhere.
template <bool fused>
static DIGAN_FAST_INLINE Vec sum_of(Vec a, Vec b, Vec c) {
    return fused ? fma(a, b, c) : add(mul(a, b), c);
}

// The waves of lanes, sin(a + b) and cos(a + b) from those of each one's column and row.
template <bool fused, class Put>
static inline void waves_of_lanes(const Block& block, const Scattered& lanes, int64_t sinusoids,
                                  const Put& put) {
    for (int64_t k = 0; k < sinusoids; ++k) {
        const float* x = block.across + k * 2 * kBlockColumns;
        const float* y = block.down + k * 2 * kBlockRows;
        float sin_x[kLanes], cos_x[kLanes], sin_y[kLanes], cos_y[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            sin_x[lane] = x[lanes.across[lane]];
            cos_x[lane] = x[kBlockColumns + lanes.across[lane]];
            sin_y[lane] = y[lanes.down[lane]];
            cos_y[lane] = y[kBlockRows + lanes.down[lane]];
        }
        for (int v = 0; v < kLanes / Vec::width; ++v) {
            const int at = v * Vec::width;
            const Vec sx = load(sin_x + at), cx = load(cos_x + at);
            const Vec sy = load(sin_y + at), cy = load(cos_y + at);
            put(k, v, sum_of<fused>(sy, cx, mul(cy, sx)),
                sum_of<fused>(mul(broadcast(-1.0f), sy), sx, mul(cy, cx)));
        }
    }
}

// The waves of a block.
template <bool fused, class Put>
static inline void waves_of(const Block& block, int64_t sinusoids, const Put& put) {
    if (block.scattered) return waves_of_lanes<fused>(block, *block.scattered, sinusoids, put);
#if defined(__AVX512F__)
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
            put(k, v, sum_of<fused>(sin_y, cos_x, mul(cos_y, sin_x)),
                sum_of<fused>(minus_sin_y, sin_x, mul(cos_y, cos_x)));
        }
    }
#else
    Scattered lanes;
    for (int lane = 0; lane < kLanes; ++lane) {
        lanes.across[lane] = lane_column(lane);
        lanes.down[lane] = lane_row(lane);
    }
    waves_of_lanes<fused>(block, lanes, sinusoids, put);
#endif
}

// Vector v of a row that was handed down to a block.
static DIGAN_FAST_INLINE Vec upsampled(const Block& block, const float* row, int v) {
    return block.scattered ? load(row + v * Vec::width)
                           : each_four_times(row + v * (Vec::width / 4));
}

// What a product starts from, in the lanes of vector v.
struct Upsampled {
    const Block* blocks;
    DIGAN_FAST_INLINE Vec operator()(int block, int64_t row, int v) const {
        return upsampled(blocks[block], blocks[block].base + row * kLanes, v);
    }
};

static inline void start_colours(const Block& block, int64_t colours) {
    for (int64_t c = 0; c < colours; ++c) {
        for (int v = 0; v < kLanes / Vec::width; ++v) {
            const Vec start =
                block.rgb_in ? upsampled(block, block.rgb_in + c * kLanes, v) : broadcast(0.0f);
            store(block.rgb_out + c * kLanes + v * Vec::width, start);
        }
    }
}

// x: float32 or pairs of bfloat16, [blocks][step] of lanes.
template <class T>
static inline void add_colours(const NodeParams& p, const PackedLayer& to_rgb, const T* x,
                               int64_t step) {
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

}  // namespace digan_fast::DIGAN_FAST_ISA
