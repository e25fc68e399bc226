#pragma once

// What render.cpp, compiled once, asks of render_blocks.cpp, compiled for each instruction set.
//
// A block is 4×8 pixels of a level's grid in Morton order: lane = x0 | y0<<1 | x1<<2 | y1<<3 |
// x2<<4 for x = x2x1x0, y = y1y0. The four children of a pixel are neighbours, so child block c of
// a block takes its lanes 8c … 8c+7, each four times.

#include <cstdint>

#include "digan_fast/render.h"

namespace digan_fast {

constexpr int kBlockRows = 4;
constexpr int kBlockColumns = 8;
constexpr int kBlockLanes = kBlockRows * kBlockColumns;

// Blocks that go through a level together: a panel of weights is read once for all of them.
constexpr int kNodeBlocks = 4;

// A layer in panels; its numbers are of 32 bits, as `Precision` packs them.
struct PackedLayer {
    float* panels;  // [outputs × depth], the gain in them
    float* bias;    // [outputs], the gain in it; null where a base holds it
    int64_t outputs;
    int64_t depth;  // inputs, packed together
    Activation activation;
    float gain;   // what is not in the panels
    float clamp;  // infinity: none
};

// Rows [first, last) of a weight into panels, and of its bias; `first` is a multiple of 12.
struct PackParams {
    PackedLayer layer;
    const float* weight;  // [outputs, row_step]
    const float* bias;    // [outputs], or null
    int64_t row_step;
    int64_t inputs;
    int64_t
        sinusoids;  // K: the columns are K sines, then K cosines, packed by turns; 0: as they are
    float scale;
    int64_t first, last;
    Precision precision;
};

// Sines and cosines of the pixels along one axis: waves [groups, K, (sin, cos), group].
struct WaveParams {
    float* waves;
    const float* frequency;  // [K, 2]
    const float* phase;      // [K], or null
    int64_t sinusoids;
    int axis;               // 0: x grows to the right; 1: y grows upwards
    int64_t side;           // of the whole grid
    int64_t first;          // index of the first pixel
    int64_t groups, group;  // group: 4 or 8 pixels
};

// One level of a stage: layers after its first product, then to-RGB.
struct PackedLevel {
    const PackedLayer* layers;
    int64_t count;
    PackedLayer to_rgb;
};

// The levels of one grid.
struct Stage {
    PackedLayer waves;  // the product with sines and cosines
    int64_t sinusoids;
    const PackedLevel* levels;
    int64_t count;
    const PackedLayer* base;  // the next stage's product with this one's activations, or null
    int64_t colours;
    Precision precision;
};

struct Block {
    const float* across;  // its columns' waves, [K, 2, 8]
    const float* down;    // its rows' waves, [K, 2, 4]
    const float* base;    // the first layer's other part, [outputs, 32] from lane 8c on, or null
    const float* rgb_in;  // the colours so far, [colours, 32] from lane 8c on, or null
    float* base_out;      // [stage.base->outputs, 32]
    float* rgb_out;       // [colours, 32]
};

struct NodeParams {
    const Stage* stage;
    const Block* blocks;
    int count;       // 1 to kNodeBlocks
    float* scratch;  // 3 · count · widest · 32 numbers, aligned to 64 bytes
    int64_t widest;  // rows of the widest activations or waves, packed together
};

void render_pack(const PackParams& params);
void render_waves(const WaveParams& params);
void render_node(const NodeParams& params);

}  // namespace digan_fast
