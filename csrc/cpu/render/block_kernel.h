#pragma once

// The interface of render/block_kernel.cpp, compiled for each instruction set, to
// render/renderer.cpp, compiled once.
//
// A block is 4×8 pixels of a level's grid in Morton order: lane = x0 | y0<<1 | x1<<2 | y1<<3 |
// x2<<4 for x = x2x1x0, y = y1y0. The four children of a pixel are neighbours, so child block c
// reads lanes 8c … 8c+7 of its parent block, each four times.

#include <cstdint>

#include "fourier/axis.h"
#include "gemm/pack_weights_kernel.h"

namespace digan_fast {

// Sines and cosines of the pixels along one axis, in segments of a block's
// rows or columns: features [segments, K, (sin, cos), length].
struct BlockAxisFeatures {
    float* features;
    const float* frequency;  // [K, 2]
    const float* phase;      // [K], or null
    int64_t sinusoids;
    Axis axis;
    int64_t side;   // of the whole grid
    bool centred;   // positions are relative to the grid's centre
    int64_t first;  // index of the first pixel
    int64_t segments;
    int64_t length;  // of a segment, 4 or 8 pixels
};

// One level of a stage: layers after its first product, then to-RGB.
struct PackedLevel {
    const PackedLayer* layers;
    int64_t layer_count;
    PackedLayer to_rgb;
};

// A frame's weights of sines and cosines, P and Q of render/rotated_weights.h, in panels.
struct RotatedLayer {
    void* sine;
    void* cosine;
};

// The levels of one grid.
struct Stage {
    PackedLayer features;      // int8: the weights of sines and cosines, interleaved
    PackedLayer sine, cosine;  // otherwise: float32, before rotation
    int64_t rotated_depth;     // depth of the rotated ones, in the stage's precision
    int64_t sinusoids;
    int64_t outputs;  // of the product with features
    const PackedLevel* levels;
    int64_t level_count;
    const PackedLayer* next_base;  // the next stage's weights of this one's activations, or null
    int64_t base_rows;  // of its outputs: pairs of channels where activations in bfloat16 are such
    int64_t colours;
    Precision precision;
    bool terms;  // float32 as terms, on AMX
};

// The lanes of a block that belong to a frame.
struct FrameLanes {
    const RotatedLayer* weights;
    int begin, end;
};

// Any 32 pixels of some frames: where the features of each pixel's column and row begin, its
// parent's lane in the coarser grid's blocks, 32 · block + lane, and which frame each belongs to.
struct Scattered {
    int64_t across[kBlockPixels];
    int64_t down[kBlockPixels];
    int64_t parent[kBlockPixels];     // unused on the coarsest grid
    FrameLanes frames[kBlockPixels];  // unused in int8
    int frame_count;
};

// Computes rows [first, last) of a frame's rotated weights.
struct WeightRotation {
    PackedLayer sine, cosine;  // before rotation, float32
    RotatedLayer to;
    const float* rotation;  // sin φ′, cos φ′: [2, K]
    int64_t sinusoids;
    int64_t depth;  // of the rotated weights
    int64_t first, last;
    Precision precision;
    bool terms;  // as in Stage
};

// 4×8 pixels, or any 32 if `scattered` is set: then `across`, `down`, `base` and `rgb_in` are the
// beginnings of the grids' tables.
struct Block {
    const float* across;  // its columns' features, [K, 2, 8]
    const float* down;    // its rows' features, [K, 2, 4]
    const float* base;    // [base_rows of the coarser stage, 32] from lane 8c on, or null
    const float* rgb_in;  // the colours so far, [colours, 32] from lane 8c on, or null
    const Scattered* scattered;
    const RotatedLayer* weights;  // its frame's; null if `scattered` has several, and in int8
    float* base_out;              // [stage.base_rows, 32]
    float* rgb_out;               // [colours, 32]
};

struct BlockGroup {
    const Stage* stage;
    const Block* blocks;
    int block_count;    // 1 to kAmxGroupBlocks
    bool mirror_pairs;  // every second block mirrors the one before, lane by lane
    float* scratch[3];  // count · widest · 32 elements each, aligned to 64 bytes
    int64_t widest;     // the most packed rows of any activations or features
};

void block_axis_features(const BlockAxisFeatures& params);
void rotate_weights(const WeightRotation& params);
void render_group(const BlockGroup& params);

}  // namespace digan_fast
