#pragma once

#include "launch.h"
#include "gemm/plan.h"
#include "gemm/kernel.cuh"

namespace digan_fast::cuda {

template <class Number>
void launch_product(const char* op, const ProductParams& p, bool waves, CudaStream stream) {
    using Tile = ProductTile<Number>;
    const bool paired = waves && p.result != Result::activated;
    const std::int64_t width = paired ? Tile::EXTENT / 2 : Tile::EXTENT;
    const std::int64_t across = (p.columns + width - 1) / width;
    const std::int64_t down = (p.rows + Tile::EXTENT - 1) / Tile::EXTENT;
    const std::int64_t blocks = across * down * p.batches * p.parts;
    if (waves)
        launch(op, product_kernel<Number, true>, blocks, Tile::THREADS, kProductBytes<Tile>, stream,
               p);
    else
        launch(op, product_kernel<Number, false>, blocks, Tile::THREADS, kProductBytes<Tile>,
               stream, p);
}

}  // namespace digan_fast::cuda
