#pragma once

// Layers as gemm/pack_weights_kernel.cpp, compiled for each instruction set, packs them, and the
// blocks of lanes that go through them.

#include <cstdint>

#include "digan_fast/render.h"

namespace digan_fast {

// Pixels or points of a block: activations lie as [channel][lane].
constexpr int kBlockLanes = 32;

// Blocks that go through a layer together: a panel of weights is read once for all of them.
constexpr int kGroupBlocks = 4;

// A layer in panels; its numbers are of 32 bits, as `Precision` packs them. In int8 they are four
// weights of a row, w ≈ scale·q with q in ±127.
struct PackedLayer {
    void* panels;  // [outputs × depth], the gain in them
    float* bias;   // [outputs], the gain in it; null where a base holds it
    int64_t outputs;
    int64_t depth;  // inputs, packed together
    Activation activation;
    float gain;               // what is not in the panels
    float clamp;              // infinity: none
    float* scales = nullptr;  // int8: [outputs], the gain in them
    int32_t* sums = nullptr;  // int8: [outputs], of the row's q
};

// Rows [first, last) of a weight into panels, and of its bias; `first` begins a panel.
struct LayerPacking {
    PackedLayer layer;
    const float* weight;  // [outputs, row_step]
    const float* bias;    // [outputs], or null
    int64_t row_step;
    int64_t inputs;
    int64_t sinusoids;  // K: the columns are K sines, then K cosines, packed alternately;
                        // 0: as they are
    float scale;
    int64_t first, last;
    Precision precision;
};

// Rows of a task of packing: whole panels of every instruction set.
constexpr int64_t kRowsOfAPackTask = 96;

// Inputs of a row that lie in one element of 32 bits, as this instruction set packs a precision.
struct PackFactor {
    Precision precision;
    int64_t* inputs;
};

void pack_layer(const LayerPacking& params);
void pack_factor(const PackFactor& params);

}  // namespace digan_fast
