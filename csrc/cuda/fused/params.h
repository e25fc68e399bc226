#pragma once

#include <cstdint>

#include "activation.cuh"

namespace digan_fast::cuda {

// Widths that the fused kernel is compiled for; a stage takes the smallest that holds its layers.
constexpr int kWidths[] = {64, 128, 256, 512};
constexpr int kMostProducts = 24;
constexpr int kMostColours = 4;

// A rectangle of a grid, in its pixels.
struct Area {
    int top, left, height, width;
};

// Outputs [first_output, first_output + Width) of a layer, or half as many, zero past its last.
// Weights, biases and to-RGB are those of the INR; `steps`, of 32 bytes of inputs each, is what the
// packed copy has.
struct StageProduct {
    const float* weight;      // [B, outputs, inputs]
    const float* bias;        // [outputs], or null
    const float* rgb_weight;  // [B, colours, outputs], or null where no to-RGB follows
    const float* rgb_bias;    // [colours]
    int outputs, inputs;
    int first_output;
    int first_input, depth;  // the range of inputs that this product sums over
    int sinusoids;           // of the inputs, sines first; 0: activations
    int steps;
    bool halved;  // Width / 2 outputs and twice the inputs in a step
    Epilogue epilogue, rgb_epilogue;
};

// The levels on one grid, for all frames. A video's packed weights are fragments [step][warp]
// [vector][lane] of 16 bytes, product by product, and then float32 tables: [product][Width] biases,
// [product][colours][Width] to-RGB.
struct StageParams {
    unsigned char* packed;
    std::int64_t packed_stride;  // bytes of a video
    std::int64_t tables;         // where they begin, in bytes
    const float* frequency;      // [B, K, 2]
    const float* phase;          // [B, T, K]
    const void* base;            // [B·T, below.height, below.width, Width], or null
    const float* image;          // [B·T, colours, below.height, below.width], or null
    void* base_out;              // [B·T, area.height, area.width, base_out_width], or null
    float* out;                  // [B·T, colours, area.height, area.width]
    int videos, frames, colours, sinusoids;
    int side;
    Area area, below;
    int base_out_width;
    int steps;     // of all products
    int layers;    // products whose outputs stay in the tile,
    int products;  // followed by those that make the next grid's base
    StageProduct product[kMostProducts];
};

}  // namespace digan_fast::cuda
