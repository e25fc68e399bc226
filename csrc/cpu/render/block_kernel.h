#pragma once

// What render/renderer.cpp, compiled once, asks of render/block_kernel.cpp, compiled for each
// instruction set.
//
// A block is 4×8 pixels of a level's grid in Morton order: lane = x0 | y0<<1 | x1<<2 | y1<<3 |
// x2<<4 for x = x2x1x0, y = y1y0. The four children of a pixel are neighbours, so child block c of
// a block takes its lanes 8c … 8c+7, each four times.

#include <cstdint>

#include "gemm/pack_weights_kernel.h"

namespace digan_fast {

constexpr int kBlockRows = 4;
constexpr int kBlockColumns = 8;
static_assert(kBlockRows * kBlockColumns == kBlockLanes, "a block is a row of lanes");

// Sines and cosines of the pixels along one axis: features [groups, K, (sin, cos), group].
struct AxisFeatureParams {
    float* features;
    const float* frequency;  // [K, 2]
    const float* phase;      // [K], or null
    int64_t sinusoids;
    int axis;               // 0: x grows to the right; 1: y grows upwards
    int64_t side;           // of the whole grid
    bool centred;           // places about the grid's centre
    int64_t first;          // index of the first pixel
    int64_t groups, group;  // group: 4 or 8 pixels
};

// One level of a stage: layers after its first product, then to-RGB.
struct PackedLevel {
    const PackedLayer* layers;
    int64_t count;
    PackedLayer to_rgb;
};

// A frame's products with sines and with cosines, P and Q of render/rotated_weights.h, in panels.
struct RotatedLayer {
    void* sine;
    void* cosine;
};

// The levels of one grid.
struct Stage {
    PackedLayer features;      // int8: the product with sines and cosines, interleaved
    PackedLayer sine, cosine;  // else float32, to be rotated
    int64_t rotated_depth;     // of these in the stage's precision
    int64_t sinusoids;
    int64_t outputs;  // of the product with features
    const PackedLevel* levels;
    int64_t count;
    const PackedLayer* base;  // the next stage's product with this one's activations, or null
    int64_t colours;
    Precision precision;
};

// A frame's lanes of a block.
struct FrameLanes {
    const RotatedLayer* weights;
    int begin, end;
};

// Any 32 pixels of some frames: where the features of each one's column and row begin, its parent's
// lane in the coarser grid's blocks, 32 · block + lane, and whose lanes they are.
struct Scattered {
    int64_t across[kBlockLanes];
    int64_t down[kBlockLanes];
    int64_t parent[kBlockLanes];     // but for the coarsest grid
    FrameLanes frames[kBlockLanes];  // not for int8
    int count;                       // of frames
};

// Rows [first, last) of the rotated weights of a frame.
struct WeightRotation {
    PackedLayer sine, cosine;  // as they are packed, float32
    RotatedLayer to;
    const float* rotation;  // sin φ′, cos φ′: [2, K]
    int64_t sinusoids;
    int64_t depth;  // of the rotated ones
    int64_t first, last;
    Precision precision;
};

// 4×8 pixels, or with `scattered` any: then `across`, `down`, `base` and `rgb_in` are the first
// ones of the grids'.
struct Block {
    const float* across;  // its columns' features, [K, 2, 8]
    const float* down;    // its rows' features, [K, 2, 4]
    const float* base;    // the first layer's other part, [outputs, 32] from lane 8c on, or null
    const float* rgb_in;  // the colours so far, [colours, 32] from lane 8c on, or null
    const Scattered* scattered;
    const RotatedLayer* weights;  // its frame's; null where `scattered` has several, and for int8
    float* base_out;              // [stage.base->outputs, 32]
    float* rgb_out;               // [colours, 32]
};

struct BlockGroup {
    const Stage* stage;
    const Block* blocks;
    int count;   // 1 to kGroupBlocks
    bool pairs;  // every second block holds the mirror images of the one before, lane by lane
    float* scratch[3];  // count · widest · 32 numbers each, aligned to 64 bytes
    int64_t widest;     // rows of the widest activations or features, packed together
};

void axis_features_of_blocks(const AxisFeatureParams& params);
void rotate_weights(const WeightRotation& params);
void render_group(const BlockGroup& params);

}  // namespace digan_fast
