#pragma once

// What a group of blocks does in every precision: features of its pixels, colours.

#include <optional>

#include "gemm/pixel_lanes-inl.h"
#include "render/block_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// The lanes of a block: its columns and rows.
static inline int lane_column(int lane) { return (lane & 1) | (lane >> 1 & 2) | (lane >> 2 & 4); }
static inline int lane_row(int lane) { return (lane >> 1 & 1) | (lane >> 2 & 2); }

// a·b + c, rounded once where there is an instruction for it, or twice everywhere.
template <bool fused>
static DIGAN_FAST_INLINE Vec sum_of(Vec a, Vec b, Vec c) {
    return fused ? fma(a, b, c) : add(mul(a, b), c);
}

// Gathers numbers of lanes, each from a table with rows of `width` numbers, at a place of its own
// in a row.
template <int width>
class LaneGather {
  public:
    // A lane's number of row 0 is at begin + offsets[lane]; tables begin at multiples of the width.
    LaneGather(const float* begin, const int64_t* offsets) {
        for (int lane = 0; lane < kLanes; ++lane) {
#if defined(__AVX512F__)
            place_[lane] = static_cast<int32_t>(offsets[lane] % width);
            const float* const table = begin + offsets[lane] - place_[lane];
            int i = 0;
            while (i < tables_ && from_[i] != table) ++i;
            if (i == tables_) {
                from_[tables_] = table;
                lanes_[tables_++] = 0;
            }
            lanes_[i] |= uint32_t{1} << lane;
#else
            from_[lane] = begin + offsets[lane];
#endif
        }
    }

    // Of vector v, `shift` places further on.
    DIGAN_FAST_INLINE Vec operator()(int64_t row, int v, int shift = 0) const {
#if defined(__AVX512F__)
        const __m512i place =
            _mm512_add_epi32(_mm512_loadu_si512(place_ + v * 16), _mm512_set1_epi32(shift));
        __m512 gathered = _mm512_setzero_ps();
        for (int i = 0; i < tables_; ++i) {
            const auto lanes = static_cast<__mmask16>(lanes_[i] >> v * 16);
            if (!lanes) continue;
            const float* const at = from_[i] + row * width;
            __m512 of_table;
            if constexpr (width == 8) {
                of_table =
                    _mm512_permutexvar_ps(place, _mm512_castps256_ps512(_mm256_loadu_ps(at)));
            } else if constexpr (width == 16) {
                of_table = _mm512_permutexvar_ps(place, _mm512_loadu_ps(at));
            } else {
                of_table =
                    _mm512_permutex2var_ps(_mm512_loadu_ps(at), place, _mm512_loadu_ps(at + 16));
            }
            gathered = _mm512_mask_mov_ps(gathered, lanes, of_table);
        }
        return {gathered};
#else
        float gathered[Vec::width];
        for (int i = 0; i < Vec::width; ++i)
            gathered[i] = from_[v * Vec::width + i][row * width + shift];
        return load(gathered);
#endif
    }

  private:
    static_assert(width == 8 || width == 16 || width == 32, "a row is one or two vectors");
    const float* from_[kLanes];
#if defined(__AVX512F__)
    int tables_ = 0;
    uint32_t lanes_[kLanes];
    int32_t place_[kLanes];
#endif
};

// The features of lanes, sin(a + b) and cos(a + b) from those of each one's column and row.
template <bool fused, class Put>
static inline void features_of_lanes(const Block& block, const Scattered& lanes, int64_t sinusoids,
                                     const Put& put) {
    const LaneGather<2 * kBlockColumns> x(block.across, lanes.across);
    const LaneGather<2 * kBlockRows> y(block.down, lanes.down);
    for (int64_t k = 0; k < sinusoids; ++k) {
        for (int v = 0; v < kLanes / Vec::width; ++v) {
            const Vec sx = x(k, v), cx = x(k, v, kBlockColumns);
            const Vec sy = y(k, v), cy = y(k, v, kBlockRows);
            put(k, v, sum_of<fused>(sy, cx, mul(cy, sx)),
                sum_of<fused>(mul(broadcast(-1.0f), sy), sx, mul(cy, cx)));
        }
    }
}

// The features of a block.
template <bool fused, class Put>
static inline void features_of(const Block& block, int64_t sinusoids, const Put& put) {
    if (block.scattered) return features_of_lanes<fused>(block, *block.scattered, sinusoids, put);
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
    features_of_lanes<fused>(block, lanes, sinusoids, put);
#endif
}

// Values of the coarser grid, [rows, 32] of each block, upsampled to the lanes of a block.
class Upsampled {
  public:
    Upsampled() = default;
    Upsampled(const Block& block, const float* from, int64_t rows) : from_(from) {
        if (!block.scattered) return;
        int64_t offsets[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            const int64_t parent = block.scattered->parent[lane];
            offsets[lane] = parent / kLanes * rows * kLanes + parent % kLanes;
        }
        gather_.emplace(from, offsets);
    }
    DIGAN_FAST_INLINE Vec operator()(int64_t row, int v) const {
        return gather_ ? (*gather_)(row, v)
                       : repeat_each_four(from_ + row * kLanes + v * (Vec::width / 4));
    }

  private:
    const float* from_ = nullptr;
    std::optional<LaneGather<kLanes>> gather_;
};

// What a product starts from, in the lanes of vector v.
struct UpsampledBase {
    Upsampled bases[kGroupBlocks];
    explicit UpsampledBase(const BlockGroup& p) {
        for (int b = 0; b < p.count; ++b)
            bases[b] = {p.blocks[b], p.blocks[b].base, p.stage->outputs};
    }
    DIGAN_FAST_INLINE Vec operator()(int block, int64_t row, int v) const {
        return bases[block](row, v);
    }
};

static inline void start_colours(const Block& block, int64_t colours) {
    const Upsampled start(block, block.rgb_in, colours);
    for (int64_t c = 0; c < colours; ++c)
        for (int v = 0; v < kLanes / Vec::width; ++v)
            store(block.rgb_out + c * kLanes + v * Vec::width,
                  block.rgb_in ? start(c, v) : broadcast(0.0f));
}

// x: float32 or pairs of bfloat16, [blocks][step] of lanes.
template <class T>
static inline void add_colours(const BlockGroup& p, const PackedLayer& to_rgb, const T* x,
                               int64_t step) {
    gemm<float>(to_rgb, p.count, Bias{to_rgb.bias}, x, step, epilogue_of(to_rgb, false),
                [&](auto& tile, int block, int64_t row, int lane) {
                    float* out = p.blocks[block].rgb_out + row * kLanes + lane;
                    for (auto& z : tile.v) {
                        for (int v = 0; v < 2; ++v) z[v] = add(z[v], load(out + v * Vec::width));
                        store(out, z[0]);
                        store(out + Vec::width, z[1]);
                        out += kLanes;
                    }
                });
}

}  // namespace digan_fast::DIGAN_FAST_ISA
