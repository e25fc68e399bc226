#pragma once

#include "fused/params.h"
#include "fused/tile.cuh"

namespace digan_fast::cuda {

// An input of the product: activations as they come, features as sine and cosine side by side.
__device__ __forceinline__ float weight_of(const StageProduct& product, std::int64_t video,
                                           int output, int input) {
    int column = product.first_input + input;
    if (product.sinusoids) column = product.first_input + input / 2 + input % 2 * product.sinusoids;
    const bool exists = output < product.outputs && input < product.depth;
    return exists ? product.weight[(video * product.outputs + output) * product.inputs + column]
                  : 0.0f;
}

// A vector of fragments for tensor cores: both halves of a step for two tiles of 8 columns.
template <class Tile, class Product>
__device__ __forceinline__ Vector fragments(const Product& product, std::int64_t video, int step,
                                            int within) {
    int warp = within / (32 * Tile::kVectors), vectors = Tile::kVectors, inputs = step;
    const int lane = within % 32, vector = within / 32 % Tile::kVectors;
    const int columns = product.halved ? Tile::kHalvedColumns : Tile::kWarpColumns;
    // A halved product has two steps' inputs in one.
    if (product.halved && Tile::kSplits) {
        inputs = 2 * step + warp / (Tile::kWarps / 2);
        warp %= Tile::kWarps / 2;
    } else if (product.halved) {
        vectors = Tile::kVectors / 2;
        inputs = 2 * step + vector / vectors;
    }
    Vector made;
#pragma unroll
    for (int word = 0; word < 4; ++word) {
        const int tile = 2 * (vector % vectors) + word / 2;
        const int output = product.first_output + Tile::output(warp, tile, lane / 4, columns);
        const int first = inputs * Tile::kStep + word % 2 * Tile::kElements;
        if constexpr (Tile::kElements == 8) {
            const int input = first + lane % 4 * 2;
            made.words[word] = Tile::Dtype::pack(weight_of(product, video, output, input),
                                                 weight_of(product, video, output, input + 1));
        } else {
            made.words[word] =
                Tile::Dtype::word(weight_of(product, video, output, first + lane % 4));
        }
    }
    return made;
}

// Four columns of an input. A warp's vectors go input by input.
template <class Tile, class Product>
__device__ __forceinline__ Vector columns_of_an_input(const Product& product, std::int64_t video,
                                                      int step, int within) {
    const int warp = within / (32 * Tile::kVectors), vector = within % (32 * Tile::kVectors);
    const int columns = product.halved ? Tile::kHalvedColumns : Tile::kWarpColumns;
    const int inputs = product.halved ? 2 * Tile::kStep : Tile::kStep;
    const int input = step * inputs + vector / (columns / 4);
    const int output = product.first_output + warp * columns + vector % (columns / 4) * 4;
    Vector made;
#pragma unroll
    for (int word = 0; word < 4; ++word)
        made.words[word] = Tile::Dtype::word(weight_of(product, video, output + word, input));
    return made;
}

// Biases, rounded as weights are, and to-RGB, in float32; zero past the last output.
template <class Tile>
__device__ __forceinline__ void pack_tables(const StageParams& p, std::int64_t video, int n,
                                            float* tables) {
    const StageProduct& product = p.product[n];
    for (int o = threadIdx.x; o < Tile::kWidth; o += blockDim.x) {
        const bool exists = o < product.outputs;
        tables[n * Tile::kWidth + o] =
            exists && product.bias ? rounded<typename Tile::Dtype>(product.bias[o]) : 0.0f;
        if (!product.rgb_weight) continue;
        float* rgb = tables + (p.products + n * p.colours) * Tile::kWidth;
        for (int c = 0; c < p.colours; ++c)
            rgb[c * Tile::kWidth + o] =
                exists ? product.rgb_weight[(video * p.colours + c) * product.outputs + o] : 0.0f;
    }
}

// One video's share is p.steps blocks of fragments and p.products blocks of tables.
template <class Dtype, int Width>
__global__ void pack_stage(const __grid_constant__ StageParams p) {
    using Tile = StageTile<Dtype, Width>;
    const int share = p.steps + p.products;
    const int block = static_cast<int>(blockIdx.x), video = block / share;
    unsigned char* packed = p.packed + video * p.packed_stride;
    int step = block % share;
    if (step >= p.steps) {
        pack_tables<Tile>(p, video, step - p.steps, reinterpret_cast<float*>(packed + p.tables));
        return;
    }
    auto* vectors =
        reinterpret_cast<Vector*>(packed + static_cast<std::int64_t>(step) * Tile::kStepBytes);
    int n = 0;
    while (step >= p.product[n].steps) step -= p.product[n++].steps;
    for (int i = threadIdx.x; i < Tile::kThreads * Tile::kVectors; i += blockDim.x) {
        if constexpr (Dtype::kOnTensorCores)
            vectors[i] = fragments<Tile>(p.product[n], video, step, i);
        else
            vectors[i] = columns_of_an_input<Tile>(p.product[n], video, step, i);
    }
}

}  // namespace digan_fast::cuda
