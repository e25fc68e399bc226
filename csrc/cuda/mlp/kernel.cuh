#pragma once

// Coordinate MLPs in one kernel: a block takes a tile of one sample's points through all layers.
// Activations are in shared memory, from which tensor cores read them, and in registers.

#include "activation.cuh"
#include "fused/mainloop.cuh"
#include "mlp/params.h"
#include "ops/pointwise.cuh"

namespace digan_fast::cuda {

__device__ __forceinline__ float mlp_activated(float z, Activation activation) {
    return activation == kGauss ? expf(-0.5f * z * z) : activated(z, activation, kSlope);
}

// Of the tile's points; those beyond the last are computed as the last.
template <class Tile>
struct MlpPlace {
    std::int64_t sample, first;
    int warp, lane;

    static __device__ __forceinline__ MlpPlace of_block(const MlpParams& p) {
        const std::int64_t block = blockIdx.x;
        return {block / p.tiles, block % p.tiles * Tile::kPixels,
                static_cast<int>(threadIdx.x / 32), static_cast<int>(threadIdx.x % 32)};
    }
    __device__ __forceinline__ const float* coordinates(const MlpParams& p, int pixel) const {
        const std::int64_t begin = (p.own_coordinates ? sample * p.points : 0) + first;
        const int last = static_cast<int>(min(p.points - first, std::int64_t{Tile::kPixels})) - 1;
        return p.coordinates + begin * p.dimensions + min(pixel, last) * p.dimensions;
    }
    // The pixel that the thread holds in row `half` of row tile i.
    __device__ __forceinline__ int pixel(int i, int half) const {
        return 16 * i + 8 * half + lane / 4;
    }
};

// visit(column, row tile, half, sum) for each of the thread's sums, row tile by row tile: all at
// once would spill.
template <class Tile, class Visit>
__device__ __forceinline__ void visit_sums(StageSums<Tile>& sums, const MlpPlace<Tile>& place,
                                           Visit&& visit) {
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i) {
#pragma unroll
        for (int group = 0; group < Tile::kGroups; ++group) {
            const int first = Tile::column(place.warp, group, place.lane);
#pragma unroll
            for (int half = 0; half < 2; ++half)
                visit_columns<Tile>(sums, group, i, half,
                                    [&](int e, float& sum) { visit(first + e, i, half, sum); });
        }
        __syncwarp();
    }
}

// sums += W·(s∘x + t) of the layer's coordinates x.
template <class Tile>
__device__ __forceinline__ void add_coordinates(StageSums<Tile>& sums, const MlpParams& p,
                                                const MlpPlace<Tile>& place, const MlpLayer& layer,
                                                const float* tables) {
    const float* const extra = tables + kWidthTables * Tile::kWidth;
    for (int d = 0; d < layer.dimensions; ++d) {
        const float* const weight = extra + 2 * layer.extra + d * Tile::kWidth;
        float u[Tile::kRowTiles][2];
#pragma unroll
        for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                u[i][half] = fmaf(place.coordinates(p, place.pixel(i, half))[d], extra[d],
                                  extra[layer.extra + d]);
        visit_sums<Tile>(sums, place, [&](int column, int i, int half, float& sum) {
            sum = fmaf(u[i][half], weight[column], sum);
        });
    }
}

template <class Tile>
__device__ __forceinline__ void activate(StageSums<Tile>& sums, const MlpPlace<Tile>& place,
                                         Activation activation) {
    const auto apply = [&](auto act) {
        visit_sums<Tile>(sums, place, [&](int, int, int, float& sum) { sum = act(sum); });
    };
    switch (activation) {
        case Activation::linear:
            break;
        case Activation::sine:
            apply([](float z) { return mlp_activated(z, Activation::sine); });
            break;
        case Activation::relu:
            apply([](float z) { return mlp_activated(z, Activation::relu); });
            break;
        case Activation::lrelu:
            apply([](float z) { return mlp_activated(z, Activation::lrelu); });
            break;
        case Activation::tanh:
            apply([](float z) { return mlp_activated(z, Activation::tanh); });
            break;
        case Activation::sigmoid:
            apply([](float z) { return mlp_activated(z, Activation::sigmoid); });
            break;
        default:
            apply([](float z) { return mlp_activated(z, kGauss); });
    }
}

// act(γ∘(z + b) + β).
template <class Tile>
__device__ __forceinline__ void finish(StageSums<Tile>& sums, const MlpPlace<Tile>& place,
                                       Activation activation, const float* tables) {
    constexpr int kWidth = Tile::kWidth;
    visit_sums<Tile>(sums, place, [&](int column, int, int, float& sum) {
        sum = fmaf(sum + tables[kBias * kWidth + column], tables[kScale * kWidth + column],
                   tables[kShift * kWidth + column]);
    });
    activate<Tile>(sums, place, activation);
}

// What a layer makes of its inputs.
template <class Tile>
__device__ __forceinline__ void modulate(StageSums<Tile>& sums, const MlpPlace<Tile>& place,
                                         const float* tables) {
    constexpr int kWidth = Tile::kWidth;
    visit_sums<Tile>(sums, place, [&](int column, int, int, float& sum) {
        sum =
            fmaf(sum, tables[kInputScale * kWidth + column], tables[kInputShift * kWidth + column]);
    });
}

template <class Tile>
__device__ __forceinline__ void store_tile(StageSums<Tile>& sums, const Activations<Tile>& tile,
                                           const MlpPlace<Tile>& place) {
#pragma unroll
    for (int group = 0; group < Tile::kGroups; ++group) {
        const int column = Tile::column(place.warp, group, place.lane);
#pragma unroll
        for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float values[Tile::kElements];
                visit_columns<Tile>(sums, group, i, half,
                                    [&](int e, float& sum) { values[e] = sum; });
                tile.write(place.pixel(i, half), column / Tile::kElements,
                           packed<typename Tile::Dtype>(values));
            }
    }
}

// The network's encoded input into the tile, as `layer` reads it: the first layer once more.
template <class Tile>
__device__ __forceinline__ void make_features(const MlpParams& p, const MlpPlace<Tile>& place,
                                              const Activations<Tile>& tile, const MlpLayer& first,
                                              const float* tables, const float* extra) {
    constexpr int kWidth = Tile::kWidth;
    const float* const own = tables + kWidthTables * kWidth;
    const float* const weight = own + 2 * first.extra;
    for (int task = threadIdx.x; task < Tile::kPixels * Tile::kChunks; task += Tile::kThreads) {
        const int pixel = task / Tile::kChunks, column = task % Tile::kChunks * Tile::kElements;
        const float* const x = place.coordinates(p, pixel);
        float values[Tile::kElements] = {};
        for (int d = 0; d < p.dimensions; ++d) {
            const float u = fmaf(x[d], own[d], own[first.extra + d]);
#pragma unroll
            for (int e = 0; e < Tile::kElements; ++e)
                values[e] = fmaf(u, weight[d * kWidth + column + e], values[e]);
        }
        for (int e = 0; e < Tile::kElements; ++e) {
            const int c = column + e;
            const float z = fmaf(values[e] + tables[kBias * kWidth + c],
                                 tables[kScale * kWidth + c], tables[kShift * kWidth + c]);
            values[e] = fmaf(mlp_activated(z, first.activation), extra[c], extra[kWidth + c]);
        }
        tile.write(pixel, column / Tile::kElements, packed<typename Tile::Dtype>(values));
    }
}

// Each point's Σ of sums times `weight`, over a warp's columns, into partial [warp][pixel].
template <class Tile>
__device__ __forceinline__ void sum_columns(StageSums<Tile>& sums, const MlpPlace<Tile>& place,
                                            const float* weight, float* partial) {
    float found[Tile::kRowTiles][2] = {};
    visit_sums<Tile>(sums, place, [&](int column, int i, int half, float& sum) {
        found[i][half] = fmaf(sum, weight[column], found[i][half]);
    });
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float& sum = found[i][half];
            sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
            sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
            if (place.lane % 4 == 0)
                partial[place.warp * Tile::kPixels + place.pixel(i, half)] = sum;
        }
}

// The same over the columns of all warps.
template <class Tile>
__device__ __forceinline__ float over_warps(const float* partial, int pixel) {
    float sum = 0.0f;
    for (int warp = 0; warp < Tile::kWarps; ++warp) sum += partial[warp * Tile::kPixels + pixel];
    return sum;
}

// A point's W·u + b in a last layer that is a sum over the tile, of the sum over channels.
template <class Tile>
__device__ __forceinline__ float few_product(float channels, const float* x, const MlpLayer& layer,
                                             const float* tables, int o) {
    const float* const extra = tables + kWidthTables * Tile::kWidth;
    const float* const weight = extra + 2 * layer.extra;
    for (int d = 0; d < layer.dimensions; ++d)
        channels = fmaf(fmaf(x[d], extra[d], extra[layer.extra + d]), weight[d * Tile::kWidth + o],
                        channels);
    return channels + tables[kBias * Tile::kWidth + o];
}

// Weights [few][Width] of a last layer that is a sum over the tile.
template <class Tile>
__device__ __forceinline__ const float* few_weights(const float* tables, const MlpLayer& layer) {
    return tables + 2 * layer.extra + (kWidthTables + layer.dimensions) * Tile::kWidth;
}

// The last layer's outputs, one at a time, as sums over the columns of all threads, which meet in
// shared memory [warp][pixel].
template <class Tile>
__device__ __forceinline__ void store_few(StageSums<Tile>& sums, float* partial, const MlpParams& p,
                                          const MlpPlace<Tile>& place, const MlpLayer& layer,
                                          const float* tables) {
    constexpr int kWidth = Tile::kWidth;
    static_assert(Tile::kWarps * Tile::kPixels * 4 <= Tile::kActivationBytes);
    for (int o = 0; o < layer.outputs; ++o) {
        sum_columns<Tile>(sums, place, few_weights<Tile>(tables, layer) + o * kWidth, partial);
        __syncthreads();
        for (int pixel = threadIdx.x; pixel < Tile::kPixels; pixel += Tile::kThreads) {
            if (place.first + pixel >= p.points) break;
            const float z = few_product<Tile>(over_warps<Tile>(partial, pixel),
                                              place.coordinates(p, pixel), layer, tables, o);
            p.out[(place.sample * p.points + place.first + pixel) * layer.outputs + o] =
                mlp_activated(fmaf(z, tables[kScale * kWidth + o], tables[kShift * kWidth + o]),
                              layer.activation);
        }
        __syncthreads();
    }
}

template <class Tile>
__device__ __forceinline__ void store_outputs(StageSums<Tile>& sums, const MlpParams& p,
                                              const MlpPlace<Tile>& place, int outputs) {
    visit_sums<Tile>(sums, place, [&](int column, int i, int half, float& sum) {
        const std::int64_t point = place.first + place.pixel(i, half);
        if (point < p.points && column < outputs)
            p.out[(place.sample * p.points + point) * outputs + column] = sum;
    });
}

template <class Tile, int Slots>
constexpr int kMlpBytes = Tile::kActivationBytes + WeightPipeline<Tile, Slots>::kBytes;

template <class Dtype, int Width, int Slots>
__global__ void __launch_bounds__(StageTile<Dtype, Width>::kThreads)
    evaluate_mlp(const __grid_constant__ MlpParams p) {
    using Tile = StageTile<Dtype, Width>;
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    const auto place = MlpPlace<Tile>::of_block(p);
    const Activations<Tile> tile(smem);
    WeightPipeline<Tile, Slots> weights(smem + Tile::kActivationBytes,
                                        p.packed + place.sample * p.packed_stride, p.steps);
    // Layers and tables are found again for each use: registers are scarce.
    const auto tables = [&](int n) {
        return p.tables + place.sample * p.table_stride + p.layers[n].tables;
    };
    StageSums<Tile> sums;
    for (int n = 0; n < p.products; ++n) {
        const MlpLayer& layer = p.layers[n];
        visit_sums<Tile>(sums, place, [](int, int, int, float& sum) { sum = 0.0f; });
        mainloop<Tile>(sums, tile, weights, layer.steps, place.lane);
        if (layer.feature_steps) {
            __syncthreads();
            make_features<Tile>(p, place, tile, p.layers[0], tables(0),
                                tables(n) + kWidthTables * Width);
            __syncthreads();
            mainloop<Tile>(sums, tile, weights, layer.feature_steps, place.lane);
        }
        add_coordinates<Tile>(sums, p, place, layer, tables(n));
        finish<Tile>(sums, place, layer.activation, tables(n));
        __syncthreads();
        if (n + 1 < p.count) modulate<Tile>(sums, place, tables(n + 1));
        if (n + 1 == p.products) break;
        store_tile<Tile>(sums, tile, place);
        __syncthreads();
    }
    if (p.few)
        store_few<Tile>(sums, reinterpret_cast<float*>(smem), p, place, p.layers[p.count - 1],
                        tables(p.count - 1));
    else
        store_outputs<Tile>(sums, p, place, p.layers[p.count - 1].outputs);
}

}  // namespace digan_fast::cuda
