#pragma once

// Layers as packed by gemm/pack_weights_kernel.cpp, which is compiled for each instruction set, and
// the groups of blocks that go through them.

#include <cstdint>

#include "digan_fast/render.h"
#include "simd/block.h"
#include "simd/terms.h"

namespace digan_fast {

// Blocks that go through a layer together, so that a panel of weights is read once for all. AMX
// multiplies faster than a layer's weights come from the last-level cache for four.
constexpr int kGroupBlocks = 4, kAmxGroupBlocks = 8;

// A layer in panels of 32-bit elements, packed according to `Precision`. In int8 an element is four
// weights of a row, w ≈ scale·q with q in ±127.
struct PackedLayer {
    void* panels;  // [outputs × depth], times the gain
    float* bias;   // [outputs], times the gain; null if a base contains it
    int64_t outputs;
    int64_t depth;  // packed inputs
    Activation activation;
    float gain;                       // the part that is not in the panels
    float clamp;                      // infinity: none
    Number number = Number::float32;  // of a chain of layers: to which operands are rounded
    bool split = false;               // rows are terms of float32 weights
    bool terms = false;       // float32, each number as terms; outputs and inputs in whole tiles
    float* scales = nullptr;  // int8: [outputs], times the gain
    int32_t* sums = nullptr;  // int8: [outputs], Σ q of the row
};

// A split layer has float32 weights of up to kSplitOutputs outputs, each number as the sum of
// kTerms of bfloat16: row kSplitOutputs·j + o has the j-th terms of output o, others are zero.
// AMX multiplies its sixteen rows in less time than vector registers the weights as they are.
constexpr int64_t kSplitOutputs = 4, kSplitRows = 16;

// Packs rows [first, last) of a weight and its bias; `first` begins a panel.
struct LayerPacking {
    PackedLayer layer;
    const float* weight;  // [outputs, row_stride]
    const float* bias;    // [outputs], or null
    int64_t row_stride;
    int64_t inputs;
    int64_t sinusoids;  // K: the columns, K sines then K cosines, are packed alternately;
                        // 0: as they are
    float scale;
    int64_t first, last;
    Precision precision;
    // float32, in the order in which rotate_weights reads it for this precision
    bool unrotated = false;
};

// Rows per packing task: whole panels for every instruction set.
constexpr int64_t kPackTaskRows = 96;

// How this instruction set computes a layer in a precision.
struct LayerTraits {
    int64_t pack = 1;  // inputs of a row per 32-bit element
    int group_blocks = kGroupBlocks;
    bool terms = false;  // float32 weights as terms: split layers, and those of coordinate MLPs
};
struct LayerTraitsQuery {
    Precision precision;
    LayerTraits* traits;
};

void pack_layer(const LayerPacking& params);
void layer_traits(const LayerTraitsQuery& params);

inline LayerTraits traits_of(Precision precision) {
    LayerTraits traits;
    layer_traits({precision, &traits});
    return traits;
}

}  // namespace digan_fast
