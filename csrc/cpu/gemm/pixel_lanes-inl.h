#pragma once

// A packed layer times the activations of blocks of lanes.

#include "gemm/microkernel-inl.h"
#include "gemm/pack_weights_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

static_assert(kBlockLanes == kLanes, "a block is a row of lanes");

// What a product starts from: the bias of its row.
struct Bias {
    const float* bias;
    DIGAN_FAST_INLINE Vec operator()(int, int64_t row, int) const { return broadcast(bias[row]); }
};

// in: [count][in_step] of lanes; out(block): where its rows go.
template <class In, class Start, class Out>
static inline void product(const PackedLayer& layer, int count, const Start& start, const In* in,
                           int64_t in_step, const Finish& how, const Out& out) {
    const In* panel = reinterpret_cast<const In*>(layer.panels);
    for (int64_t row = 0; row < layer.outputs;) {
        const int rows = panel_rows(layer.outputs - row);
        by_rows(rows, [&](auto rows_) {
            constexpr int R = decltype(rows_)::count;
            for (int block = 0; block < count; ++block) {
                for (int lane = 0; lane < kLanes; lane += kTile) {
                    Tile<R> tile;
                    for (int r = 0; r < R; ++r)
                        for (int v = 0; v < 2; ++v)
                            tile.v[r][v] = start(block, row + r, lane / Vec::width + v);
                    multiply(tile, layer.depth, panel, R, in + block * in_step + lane, kLanes);
                    finish(tile, how);
                    out(tile, block, row, lane);
                }
            }
        });
        panel += rows * layer.depth;
        row += rows;
    }
}

static inline Finish finishing(const PackedLayer& layer, bool round) {
    return {layer.activation, layer.gain, layer.clamp, round};
}

}  // namespace digan_fast::DIGAN_FAST_ISA
