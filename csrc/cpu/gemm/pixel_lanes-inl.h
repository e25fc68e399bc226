#pragma once

// A packed layer times the activations of blocks, whose pixels are lanes.

#include <type_traits>

#include "gemm/loops-inl.h"
#include "gemm/pack_weights_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// The initial value of a sum: the bias of its row.
struct Bias {
    const float* bias;
    DIGAN_FAST_INLINE Vec operator()(int, int64_t row, int) const { return broadcast(bias[row]); }
};

#if DIGAN_FAST_AMX
// call(slice, its first row) for each slice of a product, which AMX leaves in memory.
template <int R, class T, class Call>
static DIGAN_FAST_INLINE void for_each_slice_of_amx_product(int64_t depth, const T* panel,
                                                            const T* lanes, const Call& call) {
    using Sum = std::conditional_t<kPack<T> == 4, int32_t, float>;
    alignas(64) Sum sums[R * kNR];
    amx_product<R>(sums, depth, panel, lanes, kBlockPixels);
    for (int r = 0; r < R; r += kSliceRows) {
        auto slice = slice_of(sums + r * kNR);
        call(slice, r);
    }
}
#endif

// Calls out(act(start + layer·in)) for each tile; in: [blocks][in_stride]. The panels'
// elements are `Weight`s; they differ from the activations' if the weights are float32 and the
// activations packed.
template <class Weight, class In, class Start, class Out>
static inline void gemm(const PackedLayer& layer, int blocks, const Start& start, const In* in,
                        int64_t in_stride, const Epilogue& how, const Out& out) {
    const int64_t depth = layer.depth * kPack<Weight> / kPack<In>;
    for_each_tile_of_blocks<Weight>(
        layer.outputs, blocks, 1, [&](auto mr, int64_t row, int block, int lane) {
            constexpr int R = decltype(mr)::value;
            const Weight* const rows = panel_at<Weight>(layer.panels, row, layer.depth);
            const In* const lanes = in + block * in_stride + lane;
            if constexpr (kOnAmx<R>) {
                for_each_slice_of_amx_product<R>(depth, rows, lanes, [&](auto& slice, int r) {
                    for (int i = 0; i < kSliceRows; ++i)
                        for (int v = 0; v < 2; ++v)
                            slice.v[i][v] = add(slice.v[i][v], start(block, row + r + i, v));
                    apply_epilogue(slice, how);
                    out(slice, block, row + r, lane);
                });
            } else {
                Tile<R> tile;
                for (int r = 0; r < R; ++r)
                    for (int v = 0; v < 2; ++v)
                        tile.v[r][v] = start(block, row + r, lane / Vec::width + v);
                microkernel(tile, depth, rows, R, lanes, kBlockPixels);
                apply_epilogue(tile, how);
                out(tile, block, row, lane);
            }
        });
}

static inline Epilogue epilogue_of(const PackedLayer& layer, bool round) {
    return {
        .activation = layer.activation, .gain = layer.gain, .clamp = layer.clamp, .round = round};
}

}  // namespace digan_fast::DIGAN_FAST_ISA
