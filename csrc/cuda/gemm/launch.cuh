#pragma once

#include "gemm/kernel.cuh"
#include "gemm/plan.h"
#include "launch.h"

namespace digan_fast::cuda {

template <class Dtype>
void launch_gemm(const char* op, const GemmParams& p, bool features, CudaStream stream) {
    using Tile = GemmTile<Dtype>;
    const bool paired = features && p.output != GemmOutput::activated;
    const std::int64_t width = paired ? Tile::kExtent / 2 : Tile::kExtent;
    const std::int64_t across = (p.columns + width - 1) / width;
    const std::int64_t down = (p.rows + Tile::kExtent - 1) / Tile::kExtent;
    const std::int64_t blocks = across * down * p.batches * p.splits;
    if (features)
        launch(op, gemm_kernel<Dtype, true>, blocks, Tile::kThreads, kGemmBytes<Tile>, stream, p);
    else
        launch(op, gemm_kernel<Dtype, false>, blocks, Tile::kThreads, kGemmBytes<Tile>, stream, p);
}

}  // namespace digan_fast::cuda
