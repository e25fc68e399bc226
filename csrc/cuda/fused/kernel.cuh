#pragma once

// The levels on one grid in one kernel: a block takes a tile of one frame's pixels from
// coordinates, base and image of the grid below to the image and the base of the grid above.
// Activations never leave the multiprocessor.

#include "fused/mainloop.cuh"
#include "fused/params.h"

namespace digan_fast::cuda {

// Where a block's tile lies. Its corner is even, so that two neighbouring rows share their parents.
struct StagePlace {
    int video, frame;  // frame counts over all videos
    int top, left;     // on the grid
    int warp, lane;

    template <class Tile>
    static __device__ __forceinline__ StagePlace of_block(const StageParams& p) {
        const Area& area = p.area;
        const int top = area.top & ~1, left = area.left & ~1;
        const int across = (area.left + area.width - left + 7) / 8;
        const int down = (area.top + area.height - top + Tile::kRows - 1) / Tile::kRows;
        const int block = static_cast<int>(blockIdx.x), tile = block % (across * down);
        StagePlace place;
        place.frame = block / (across * down);
        place.video = place.frame / p.frames;
        place.top = top + tile / across * Tile::kRows;
        place.left = left + tile % across * 8;
        place.warp = threadIdx.x / 32;
        place.lane = threadIdx.x % 32;
        return place;
    }

    // The place of a pixel in a plane of the area; negative outside.
    __device__ __forceinline__ std::int64_t inside(const Area& area, int pixel) const {
        const int row = top + pixel / 8 - area.top, column = left + pixel % 8 - area.left;
        const bool is_inside = row >= 0 && row < area.height && column >= 0 && column < area.width;
        return is_inside ? static_cast<std::int64_t>(row) * area.width + column : -1;
    }

    // The place of its parent in a plane of the area below, clamped to the area.
    __device__ __forceinline__ std::int64_t parent(const Area& below, int pixel) const {
        int row = (top >> 1) + pixel / 16 - below.top;
        int column = (left >> 1) + pixel % 8 / 2 - below.left;
        row = min(max(row, 0), below.height - 1);
        column = min(max(column, 0), below.width - 1);
        return static_cast<std::int64_t>(row) * below.width + column;
    }
};

// Features of sinusoids [first, first + count) for the tile's pixels, sine and cosine side by side;
// from K on those of θ = 0, whose weights are packed as 0. θ = F·(x, y) + φ is split into a row's
// and a column's share, which the addition theorem joins.
template <class Tile>
__device__ __forceinline__ void make_features(const StageParams& p, const StagePlace& place,
                                              const Activations<Tile>& tile, int first, int count) {
    const float scale = 2.0f / static_cast<float>(p.side);
    constexpr int kRows = 4;  // of a task, so that their sines are few registers
    const int groups = (count + 31) / 32, bands = groups * (Tile::kRows / kRows);
    const int parts = max(1, min(8, Tile::kWarps / bands));
    for (int task = place.warp; task < bands * parts; task += Tile::kWarps) {
        const int within = task % groups * 32 + place.lane, k = first + within;
        const int first_row = task / groups % (Tile::kRows / kRows) * kRows;
        if (within >= count) continue;
        const bool exists = k < p.sinusoids;
        const std::int64_t at = static_cast<std::int64_t>(place.video) * p.sinusoids + k;
        const float across = exists ? p.frequency[2 * at] : 0.0f;
        const float up = exists ? p.frequency[2 * at + 1] : 0.0f;
        const std::int64_t phase_at = static_cast<std::int64_t>(place.frame) * p.sinusoids + k;
        const float phase = exists ? p.phase[phase_at] : 0.0f;
        float row_sine[kRows], row_cosine[kRows];
#pragma unroll
        for (int row = 0; row < kRows; ++row) {
            const int below = p.side - 1 - place.top - first_row - row;
            const float y = fmaf(static_cast<float>(below), scale, -1.0f);
            sin_cos(fmaf(y, up, phase), row_sine[row], row_cosine[row]);
        }
        for (int column = task / bands; column < 8; column += parts) {
            const float x = fmaf(static_cast<float>(place.left + column), scale, -1.0f);
            float sine, cosine;
            sin_cos(x * across, sine, cosine);
#pragma unroll
            for (int row = 0; row < kRows; ++row) {
                const float s = fmaf(row_sine[row], cosine, row_cosine[row] * sine);
                const float c = fmaf(row_cosine[row], cosine, -row_sine[row] * sine);
                constexpr int kPairs = Tile::kElements / 2;  // of 16 bytes
                unsigned char* chunk = tile.chunk(8 * (first_row + row) + column, within / kPairs);
                if constexpr (kPairs == 4)
                    reinterpret_cast<uint32_t*>(chunk)[within % 4] = Tile::Dtype::pack(s, c);
                else
                    reinterpret_cast<uint2*>(chunk)[within % 2] = {Tile::Dtype::word(s),
                                                                   Tile::Dtype::word(c)};
            }
        }
    }
}

// The base at the parents, or zero.
template <class Tile>
__device__ __forceinline__ void begin_sums(StageSums<Tile>& sums, const StageParams& p,
                                           const StagePlace& place, bool based) {
    const auto* base = static_cast<const typename Tile::Dtype::Element*>(p.base);
    const std::int64_t plane = static_cast<std::int64_t>(p.below.height) * p.below.width;
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i) {
        const int pixel = 16 * i + place.lane / 4;
        const std::int64_t parent = based ? place.frame * plane + place.parent(p.below, pixel) : 0;
#pragma unroll
        for (int group = 0; group < Tile::kGroups; ++group) {
            float values[Tile::kElements] = {};
            if (based) {
                const int column = Tile::column(place.warp, group, place.lane);
                Vector vector;
                vector.whole =
                    *reinterpret_cast<const uint4*>(base + parent * Tile::kWidth + column);
                unpack<typename Tile::Dtype>(vector, values);
            }
#pragma unroll
            for (int half = 0; half < 2; ++half)
                visit_columns<Tile>(sums, group, i, half,
                                    [&](int e, float& sum) { sum = values[e]; });
        }
    }
}

// A layer's outputs into the tile. All warps have read its inputs.
template <class Tile>
__device__ __forceinline__ void store_layer(StageSums<Tile>& sums, const Activations<Tile>& tile,
                                            const StagePlace& place, const Epilogue& epilogue,
                                            const float* bias) {
#pragma unroll
    for (int group = 0; group < Tile::kGroups; ++group) {
        const int column = Tile::column(place.warp, group, place.lane);
        float offsets[Tile::kElements];
#pragma unroll
        for (int e = 0; e < Tile::kElements; ++e) offsets[e] = bias[column + e];
#pragma unroll
        for (int i = 0; i < Tile::kRowTiles; ++i) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float values[Tile::kElements];
                visit_columns<Tile>(sums, group, i, half, [&](int e, float& sum) {
                    values[e] = epilogue(sum + offsets[e]);
                });
                const int pixel = 16 * i + 8 * half + place.lane / 4;
                tile.write(pixel, column / Tile::kElements, packed<typename Tile::Dtype>(values));
            }
        }
    }
}

// Joins the sums of a split product: those of the second half of the warps go to the first, through
// the tile, which is no longer read.
template <class Tile>
__device__ __forceinline__ void join_sums(StageSums<Tile>& sums, const Activations<Tile>& tile,
                                          const StagePlace& place) {
    constexpr int kHalf = Tile::kWarps / 2, kTiles = Tile::kRowTiles * Tile::kColumnTiles;
    static_assert(kHalf * kTiles * 4 * 32 * sizeof(float) <= Tile::kActivationBytes);
    // Volatile, so that sums are read one by one: all at once would spill.
    volatile float* smem = reinterpret_cast<float*>(tile.chunk(0, 0));
    smem += place.warp % kHalf * kTiles * 4 * 32 + place.lane;
    __syncthreads();
    if (place.warp >= kHalf) {
#pragma unroll
        for (int t = 0; t < 4 * kTiles; ++t)
            smem[32 * t] = sums[t / 4 / Tile::kColumnTiles][t / 4 % Tile::kColumnTiles][t % 4];
    }
    __syncthreads();
    if (place.warp < kHalf) {
#pragma unroll
        for (int t = 0; t < 4 * kTiles; ++t)
            sums[t / 4 / Tile::kColumnTiles][t / 4 % Tile::kColumnTiles][t % 4] += smem[32 * t];
    }
}

// What the grid above takes as its base: columns [first, first + Width) of it, or half as many.
template <class Tile>
__device__ __forceinline__ void store_base(StageSums<Tile>& sums, const StageParams& p,
                                           const StagePlace& place, int first, bool halved) {
    if (halved && Tile::kSplits && place.warp >= Tile::kWarps / 2) return;
    const int groups = halved && !Tile::kSplits ? Tile::kGroups / 2 : Tile::kGroups;
    const int columns = halved ? Tile::kHalvedColumns : Tile::kWarpColumns;
    auto* out = static_cast<typename Tile::Dtype::Element*>(p.base_out);
    const std::int64_t plane = static_cast<std::int64_t>(p.area.height) * p.area.width;
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const std::int64_t at = place.inside(p.area, 16 * i + 8 * half + place.lane / 4);
            auto* row = out + (place.frame * plane + at) * p.base_out_width;
#pragma unroll
            for (int group = 0; group < Tile::kGroups; ++group) {
                const int column = first + Tile::column(place.warp, group, place.lane, columns);
                float values[Tile::kElements];
                visit_columns<Tile>(sums, group, i, half,
                                    [&](int e, float& sum) { values[e] = sum; });
                if (at >= 0 && group < groups && column < p.base_out_width)
                    *reinterpret_cast<uint4*>(row + column) =
                        packed<typename Tile::Dtype>(values).whole;
            }
        }
    }
}

// The four threads of a quad share a pixel: a quarter of the channels each in a sum, then a colour
// each.
template <class Tile, class Visit>
__device__ __forceinline__ void for_each_colour(const Visit& visit) {
    for (int pixel = threadIdx.x / 4; pixel < Tile::kPixels; pixel += Tile::kThreads / 4)
        visit(pixel, static_cast<int>(threadIdx.x % 4));
}

template <class Tile>
__device__ __forceinline__ void begin_colours(float* colours, const StageParams& p,
                                              const StagePlace& place) {
    const std::int64_t plane = static_cast<std::int64_t>(p.below.height) * p.below.width;
    for_each_colour<Tile>([&](int pixel, int colour) {
        float value = 0.0f;
        if (p.image && colour < p.colours)
            value = p.image[(static_cast<std::int64_t>(place.frame) * p.colours + colour) * plane +
                            place.parent(p.below, pixel)];
        colours[colour * Tile::kColourPitch + pixel] = value;
    });
}

// colours += epilogue(rgb · tile + bias), in float32.
template <class Tile>
__device__ __forceinline__ void add_colours(float* colours, const Activations<Tile>& tile,
                                            const StageProduct& product, const float* rgb,
                                            int count) {
    for_each_colour<Tile>([&](int pixel, int part) {
        float sums[kMostColours] = {};
        for (int chunk = part; chunk < Tile::kChunks; chunk += 4) {
            float values[Tile::kElements];
            unpack<typename Tile::Dtype>(tile.read(pixel, chunk), values);
#pragma unroll
            for (int c = 0; c < kMostColours; ++c) {
                if (c >= count) break;
                const auto* row = reinterpret_cast<const float4*>(rgb + c * Tile::kWidth +
                                                                  chunk * Tile::kElements);
#pragma unroll
                for (int e = 0; e < Tile::kElements; e += 4) {
                    const float4 four = row[e / 4];
                    sums[c] = fmaf(values[e], four.x, sums[c]);
                    sums[c] = fmaf(values[e + 1], four.y, sums[c]);
                    sums[c] = fmaf(values[e + 2], four.z, sums[c]);
                    sums[c] = fmaf(values[e + 3], four.w, sums[c]);
                }
            }
        }
        float mine = 0.0f;
#pragma unroll
        for (int c = 0; c < kMostColours; ++c) {
            sums[c] += __shfl_xor_sync(0xFFFFFFFFu, sums[c], 1);
            sums[c] += __shfl_xor_sync(0xFFFFFFFFu, sums[c], 2);
            mine = part == c ? sums[c] : mine;
        }
        if (part < count)
            colours[part * Tile::kColourPitch + pixel] +=
                product.rgb_epilogue(mine + product.rgb_bias[part]);
    });
}

template <class Tile>
__device__ __forceinline__ void store_colours(const float* colours, const StageParams& p,
                                              const StagePlace& place) {
    const std::int64_t plane = static_cast<std::int64_t>(p.area.height) * p.area.width;
    for_each_colour<Tile>([&](int pixel, int colour) {
        const std::int64_t at = place.inside(p.area, pixel);
        if (at >= 0 && colour < p.colours)
            p.out[(static_cast<std::int64_t>(place.frame) * p.colours + colour) * plane + at] =
                colours[colour * Tile::kColourPitch + pixel];
    });
}

template <class Tile, int Slots>
constexpr int kStageBytes =
    Tile::kActivationBytes + WeightPipeline<Tile, Slots>::kBytes + Tile::kColourBytes;

template <class Dtype, int Width, int Slots>
__global__ void __launch_bounds__(StageTile<Dtype, Width>::kThreads,
                                  StageTile<Dtype, Width>::kBlocks)
    render_stage(const __grid_constant__ StageParams p) {
    using Tile = StageTile<Dtype, Width>;
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    const StagePlace place = StagePlace::of_block<Tile>(p);
    const Activations<Tile> tile(smem);
    float* colours = reinterpret_cast<float*>(smem + Tile::kActivationBytes);
    const unsigned char* packed = p.packed + place.video * p.packed_stride;
    // Recomputed for each product: registers are scarce.
    const auto table = [&](int n) {
        return reinterpret_cast<const float*>(p.packed + place.video * p.packed_stride + p.tables) +
               n * Width;
    };
    WeightPipeline<Tile, Slots> weights(smem + Tile::kActivationBytes + Tile::kColourBytes, packed,
                                        p.steps);
    begin_colours<Tile>(colours, p, place);

    StageSums<Tile> sums;
    for (int n = 0; n < p.products; ++n) {
        const StageProduct& product = p.product[n];
        begin_sums<Tile>(sums, p, place, n == 0 && p.base != nullptr);
        if (product.sinusoids) {
            constexpr int kFull = Tile::kChunks / 2;  // steps of a tile full of features
            for (int step = 0; step < product.steps; step += kFull) {
                const int steps = min(kFull, product.steps - step);
                if (step) __syncthreads();
                make_features<Tile>(p, place, tile, step * Tile::kElements,
                                    steps * Tile::kElements);
                __syncthreads();
                mainloop<Tile>(sums, tile, weights, steps, place.lane);
            }
        } else if (Tile::kHalves && product.halved) {
            mainloop<Tile, true>(sums, tile, weights, product.steps, place.lane);
            if constexpr (Tile::kSplits) join_sums<Tile>(sums, tile, place);
        } else {
            mainloop<Tile>(sums, tile, weights, product.steps, place.lane);
        }
        if (n >= p.layers) {
            store_base<Tile>(sums, p, place, product.first_output, product.halved);
            continue;
        }
        __syncthreads();
        store_layer<Tile>(sums, tile, place, product.epilogue, table(n));
        __syncthreads();
        if (product.rgb_weight)
            add_colours<Tile>(colours, tile, product, table(p.products + n * p.colours), p.colours);
    }
    store_colours<Tile>(colours, p, place);
}

}  // namespace digan_fast::cuda
