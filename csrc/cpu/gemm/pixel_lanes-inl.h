#pragma once

// A packed layer times the activations of blocks of lanes.

#include "gemm/loops-inl.h"
#include "gemm/pack_weights_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

static_assert(kBlockPixels == kBlockPixels, "a block is a row of lanes");

// The initial value of a sum: the bias of its row.
struct Bias {
    const float* bias;
    DIGAN_FAST_INLINE Vec operator()(int, int64_t row, int) const { return broadcast(bias[row]); }
};

// Calls out(act(start + layer·in)) for each tile; in: [count][in_stride] of lanes. The panels'
// elements are `Weight`s; they differ from the lanes' if the weights are float32 and the
// activations packed.
template <class Weight, class In, class Start, class Out>
static inline void gemm(const PackedLayer& layer, int count, const Start& start, const In* in,
                        int64_t in_stride, const Epilogue& how, const Out& out) {
    const int64_t depth = layer.depth * kPack<Weight> / kPack<In>;
    for_each_tile_of_blocks(
        layer.outputs, count, 1, [&](auto mr, int64_t row, int block, int lane) {
            constexpr int R = decltype(mr)::value;
            Tile<R> tile;
            for (int r = 0; r < R; ++r)
                for (int v = 0; v < 2; ++v)
                    tile.v[r][v] = start(block, row + r, lane / Vec::width + v);
            microkernel(tile, depth, panel_at<Weight>(layer.panels, row, layer.depth), R,
                        in + block * in_stride + lane, kBlockPixels);
            apply_epilogue(tile, how);
            out(tile, block, row, lane);
        });
}

static inline Epilogue epilogue_of(const PackedLayer& layer, bool round) {
    return {layer.activation, layer.gain, layer.clamp, round};
}

}  // namespace digan_fast::DIGAN_FAST_ISA
