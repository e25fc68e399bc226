#pragma once

#include "fused/params.h"
#include "fused/tile.cuh"

namespace digan_fast::cuda {

// An input of the product: activations as they come, waves as sine and cosine side by side.
__device__ __forceinline__ float weight_of(const StageProduct& product, std::int64_t video,
                                           int output, int input) {
    int column = product.first_input + input;
    if (product.sinusoids) column = product.first_input + input / 2 + input % 2 * product.sinusoids;
    const bool exists = output < product.outputs && input < product.depth;
    return exists ? product.weight[(video * product.outputs + output) * product.inputs + column]
                  : 0.0f;
}

// A vector of fragments for tensor cores: both halves of a step for two tiles of 8 columns.
template <class Tile>
__device__ __forceinline__ Vector fragments(const StageProduct& product, std::int64_t video,
                                            int step, int within) {
    int warp = within / (32 * Tile::VECTORS), vectors = Tile::VECTORS, inputs = step;
    const int lane = within % 32, vector = within / 32 % Tile::VECTORS;
    const int columns = product.halved ? Tile::HALVED_COLUMNS : Tile::WARP_COLUMNS;
    // A halved product has two steps' inputs in one.
    if (product.halved && Tile::SPLITS) {
        inputs = 2 * step + warp / (Tile::WARPS / 2);
        warp %= Tile::WARPS / 2;
    } else if (product.halved) {
        vectors = Tile::VECTORS / 2;
        inputs = 2 * step + vector / vectors;
    }
    Vector made;
#pragma unroll
    for (int word = 0; word < 4; ++word) {
        const int tile = 2 * (vector % vectors) + word / 2;
        const int output = product.first_output + Tile::output(warp, tile, lane / 4, columns);
        const int first = inputs * Tile::STEP + word % 2 * Tile::ELEMENTS;
        if constexpr (Tile::ELEMENTS == 8) {
            const int input = first + lane % 4 * 2;
            made.words[word] = Tile::Number::pack(weight_of(product, video, output, input),
                                                  weight_of(product, video, output, input + 1));
        } else {
            made.words[word] =
                Tile::Number::word(weight_of(product, video, output, first + lane % 4));
        }
    }
    return made;
}

// Four columns of an input. A warp's vectors go input by input.
template <class Tile>
__device__ __forceinline__ Vector columns_of_an_input(const StageProduct& product,
                                                      std::int64_t video, int step, int within) {
    const int warp = within / (32 * Tile::VECTORS), vector = within % (32 * Tile::VECTORS);
    const int columns = product.halved ? Tile::HALVED_COLUMNS : Tile::WARP_COLUMNS;
    const int inputs = product.halved ? 2 * Tile::STEP : Tile::STEP;
    const int input = step * inputs + vector / (columns / 4);
    const int output = product.first_output + warp * columns + vector % (columns / 4) * 4;
    Vector made;
#pragma unroll
    for (int word = 0; word < 4; ++word)
        made.words[word] = Tile::Number::word(weight_of(product, video, output + word, input));
    return made;
}

// Biases, rounded as weights are, and to-RGB, in float32; zero past the last output.
template <class Tile>
__device__ __forceinline__ void pack_tables(const StageParams& p, std::int64_t video, int n,
                                            float* tables) {
    const StageProduct& product = p.product[n];
    for (int o = threadIdx.x; o < Tile::WIDTH; o += blockDim.x) {
        const bool exists = o < product.outputs;
        tables[n * Tile::WIDTH + o] =
            exists && product.bias ? rounded<typename Tile::Number>(product.bias[o]) : 0.0f;
        if (!product.rgb_weight) continue;
        float* rgb = tables + (p.products + n * p.colours) * Tile::WIDTH;
        for (int c = 0; c < p.colours; ++c)
            rgb[c * Tile::WIDTH + o] =
                exists ? product.rgb_weight[(video * p.colours + c) * product.outputs + o] : 0.0f;
    }
}

// One video's share is p.steps blocks of fragments and p.products blocks of tables.
template <class Number, int WIDTH>
__global__ void pack_stage(const __grid_constant__ StageParams p) {
    using Tile = StageTile<Number, WIDTH>;
    const int share = p.steps + p.products;
    const int block = static_cast<int>(blockIdx.x), video = block / share;
    unsigned char* packed = p.packed + video * p.packed_stride;
    int step = block % share;
    if (step >= p.steps) {
        pack_tables<Tile>(p, video, step - p.steps, reinterpret_cast<float*>(packed + p.tables));
        return;
    }
    auto* vectors =
        reinterpret_cast<Vector*>(packed + static_cast<std::int64_t>(step) * Tile::STEP_BYTES);
    int n = 0;
    while (step >= p.product[n].steps) step -= p.product[n++].steps;
    for (int i = threadIdx.x; i < Tile::THREADS * Tile::VECTORS; i += blockDim.x) {
        if constexpr (Number::ON_TENSOR_CORES)
            vectors[i] = fragments<Tile>(p.product[n], video, step, i);
        else
            vectors[i] = columns_of_an_input<Tile>(p.product[n], video, step, i);
    }
}

}  // namespace digan_fast::cuda
