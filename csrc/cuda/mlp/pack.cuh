#pragma once

#include "fused/pack.cuh"
#include "mlp/params.h"

namespace digan_fast::cuda {

// A layer's product, as fused/pack.cuh reads products.
struct MlpProduct {
    const float* weight;  // of the sample, [outputs, inputs]
    int outputs, inputs;
    int first_input, depth;  // the range of inputs
    float omega;
    bool transposed;  // outputs and inputs change places: the gradient by the inputs
    static constexpr bool halved = false;
    static constexpr int first_output = 0;
};

__device__ __forceinline__ float weight_of(const MlpProduct& product, std::int64_t, int output,
                                           int input) {
    const int row = product.transposed ? input : output,
              column = product.transposed ? output : input;
    const bool exists = row < product.outputs && column < product.depth;
    const std::int64_t at =
        static_cast<std::int64_t>(row) * product.inputs + product.first_input + column;
    return exists ? product.weight[at] * product.omega : 0.0f;
}

// A sample's numbers from a vector, or what leaves a value as it is.
__device__ __forceinline__ float vector_at(const float* vector, std::int64_t sample, int extent,
                                           int at, float otherwise) {
    return vector ? vector[sample * extent + at] : otherwise;
}

template <class Tile>
__device__ __forceinline__ void pack_mlp_tables(const MlpPackParams& p, std::int64_t sample,
                                                float* tables) {
    const MlpLayer& layer = p.layer;
    const float* weight = p.weight + sample * p.weight_stride;
    constexpr int kWidth = Tile::kWidth;
    float* const extra = tables + kWidthTables * kWidth;
    float* const coordinates = extra + 2 * layer.extra;
    float* const few = coordinates + layer.dimensions * kWidth;
    for (int o = threadIdx.x; o < kWidth; o += blockDim.x) {
        const bool is_output = o < layer.outputs, is_input = o < layer.channels;
        tables[kBias * kWidth + o] =
            is_output ? p.omega * vector_at(p.bias, sample, layer.outputs, o, 0.0f) : 0.0f;
        tables[kScale * kWidth + o] =
            is_output ? vector_at(p.scale, sample, layer.outputs, o, 1.0f) : 0.0f;
        tables[kShift * kWidth + o] =
            is_output ? p.omega * vector_at(p.shift, sample, layer.outputs, o, 0.0f) : 0.0f;
        tables[kInputScale * kWidth + o] =
            is_input ? vector_at(p.input_scale, sample, p.inputs, o, 1.0f) : 0.0f;
        tables[kInputShift * kWidth + o] =
            is_input ? vector_at(p.input_shift, sample, p.inputs, o, 0.0f) : 0.0f;
        for (int d = 0; d < layer.dimensions; ++d) {
            const std::int64_t at = static_cast<std::int64_t>(o) * p.inputs + layer.channels + d;
            coordinates[d * kWidth + o] = is_output ? weight[at] * p.omega : 0.0f;
        }
        for (int f = 0; f < p.few; ++f) {
            const std::int64_t at = static_cast<std::int64_t>(f) * p.inputs + o;
            few[f * kWidth + o] = is_input ? weight[at] * p.omega : 0.0f;
        }
    }
    for (int f = threadIdx.x; f < layer.extra; f += blockDim.x) {
        const int at = layer.channels + f;
        extra[f] = at < p.inputs ? vector_at(p.input_scale, sample, p.inputs, at, 1.0f) : 0.0f;
        extra[layer.extra + f] =
            at < p.inputs ? vector_at(p.input_shift, sample, p.inputs, at, 0.0f) : 0.0f;
    }
}

// A sample's share is a block for the tables and one for each step of the product.
template <class Dtype, int Width>
__global__ void pack_mlp(const __grid_constant__ MlpPackParams p) {
    using Tile = StageTile<Dtype, Width>;
    const int block = static_cast<int>(blockIdx.x) % p.blocks;
    const std::int64_t sample = static_cast<int>(blockIdx.x) / p.blocks;
    if (block == 0) {
        if (sample == 0 && threadIdx.x == 0) *p.place = p.layer;
        pack_mlp_tables<Tile>(p, sample, p.tables + sample * p.table_stride);
        return;
    }
    if (sample > 0 && !p.packed_stride) return;
    int step = block - 1;
    MlpProduct product{p.weight + sample * p.weight_stride,
                       p.layer.outputs,
                       p.inputs,
                       0,
                       p.layer.channels,
                       p.omega,
                       step >= p.layer.steps + p.layer.feature_steps};
    if (product.transposed) step -= p.layer.steps + p.layer.feature_steps;
    auto* vectors = reinterpret_cast<Vector*>((product.transposed ? p.packed_back : p.packed) +
                                              sample * p.packed_stride +
                                              static_cast<std::int64_t>(step) * Tile::kStepBytes);
    // The channels' part comes first, and of the transposed weights, whose sums go on, last.
    const int before = product.transposed ? p.layer.back.feature_steps : p.layer.steps;
    if ((step < before) == product.transposed) {
        product.first_input = p.layer.channels;
        product.depth = p.inputs - p.layer.channels;
    }
    if (step >= before) step -= before;
    for (int i = threadIdx.x; i < Tile::kThreads * Tile::kVectors; i += blockDim.x) {
        if constexpr (Dtype::kOnTensorCores)
            vectors[i] = fragments<Tile>(product, 0, step, i);
        else
            vectors[i] = columns_of_an_input<Tile>(product, 0, step, i);
    }
}

}  // namespace digan_fast::cuda
