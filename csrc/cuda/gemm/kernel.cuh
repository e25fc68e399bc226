#pragma once

// The GEMM kernel: a block makes 128 × 128 outputs of one GEMM of a batch, from steps of its
// operands that are copied, or made, two steps ahead of what is multiplied.

#include <type_traits>

#include "gemm/epilogue.cuh"
#include "gemm/features_operand.cuh"
#include "gemm/mainloop.cuh"
#include "gemm/operands.cuh"

namespace digan_fast::cuda {

template <class Tile>
constexpr int kGemmBytes = Tile::kSlots * 2 * Tile::kBytes;

// Per multiprocessor: two, at 128 registers a thread, where neither sines nor fma need more.
template <class Dtype, bool WithFeatures>
constexpr int kGemmBlocks = WithFeatures || std::is_same_v<Dtype, Float32> ? 1 : 2;

// Sums over all steps, as a pipeline of kSlots buffers; `issue` fills one with the next step.
template <class Tile, bool LeftTransposed, bool RightTransposed, class Issue>
__device__ __forceinline__ void mainloop(GemmSums<Tile>& sums, const GemmPlace& place,
                                         unsigned char* smem, int steps, Issue&& issue) {
    constexpr int kSlot = 2 * Tile::kBytes, kAhead = Tile::kSlots - 1;
    unsigned char* const past = smem + Tile::kSlots * kSlot;
    const MainloopStep<Tile, LeftTransposed, RightTransposed> multiply(place.warp, place.lane);
    unsigned char *filled = smem, *slot = smem;
#pragma unroll 1
    for (int step = -kAhead; step < steps; ++step) {
        if (step >= 0) {
            copy_async_wait<kAhead - 1>();
            __syncthreads();
        }
        if (step + kAhead < steps) {
            issue(filled);
            filled = filled + kSlot == past ? smem : filled + kSlot;
        }
        copy_async_commit();
        if (step < 0) continue;
        multiply(sums, slot, slot + Tile::kBytes);
        slot = slot + kSlot == past ? smem : slot + kSlot;
    }
    copy_async_wait<0>();
}

// For this operand layout. Features are the left operand where neither is transposed, the right one
// where both are, and neither where the sums are what theta is made of.
template <class Tile, bool WithFeatures, bool LeftTransposed, bool RightTransposed>
__device__ __forceinline__ void accumulate(GemmSums<Tile>& sums, const GemmParams& p,
                                           const GemmPlace& place, unsigned char* smem) {
    constexpr bool kLeftIsFeatures = WithFeatures && !RightTransposed,
                   kRightIsFeatures = WithFeatures && LeftTransposed;
    const int terms = kLeftIsFeatures ? Tile::kDepth / 2 : Tile::kDepth;
    const int steps = static_cast<int>(place.end - place.begin + terms - 1) / terms;
    OperandLoader<Tile, LeftTransposed> left(p.left, place.batch, place.row, p.rows, place.begin,
                                             place.end);
    OperandLoader<Tile, RightTransposed> right(p.right, place.batch, place.column, p.columns,
                                               place.begin, place.end);
    FeatureProducer<Tile> features =
        kLeftIsFeatures ? FeatureProducer<Tile>(p.features, true, place.batch, place.row, p.rows, 0)
                        : FeatureProducer<Tile>(p.features, false, place.batch * p.features.frames,
                                                place.begin, place.end, place.column);
    const auto issue = [&](unsigned char* slot) {
        if constexpr (kLeftIsFeatures)
            features.issue(slot);
        else
            left.issue(slot);
        if constexpr (kRightIsFeatures)
            features.issue(slot + Tile::kBytes);
        else
            right.issue(slot + Tile::kBytes);
    };
    mainloop<Tile, LeftTransposed, RightTransposed>(sums, place, smem, steps, issue);
}

template <class Dtype, bool WithFeatures>
__global__ void __launch_bounds__(GemmTile<Dtype>::kThreads, (kGemmBlocks<Dtype, WithFeatures>))
    gemm_kernel(const __grid_constant__ GemmParams p) {
    using Tile = GemmTile<Dtype>;
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    const bool paired = WithFeatures && p.output != GemmOutput::activated;  // columns with cosines
    const GemmPlace place(p, Tile::kExtent, paired ? Tile::kExtent / 2 : Tile::kExtent);
    GemmSums<Tile> sums = {};
    if (p.left.transposed)
        accumulate<Tile, WithFeatures, true, true>(sums, p, place, smem);
    else if (p.right.transposed)
        accumulate<Tile, WithFeatures, false, true>(sums, p, place, smem);
    else
        accumulate<Tile, WithFeatures, false, false>(sums, p, place, smem);
    store_sums<Tile, WithFeatures>(sums, reinterpret_cast<float*>(smem), p, place);
}

}  // namespace digan_fast::cuda
