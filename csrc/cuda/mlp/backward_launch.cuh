#pragma once

#include "launch.h"
#include "mlp/backward.cuh"
#include "mlp/plan.h"
#include "mlp/width.h"

namespace digan_fast::cuda {

template <class Dtype>
void launch_mlp_backward(const MlpBackwardParams& p, int width, CudaStream stream) {
    with_width(width, [&](auto constant) {
        constexpr int kWidth = decltype(constant)::value;
        using Tile = BackwardTile<Dtype, kWidth>;
        static_assert(Tile::kPixels == mlp_backward_pixels(Tile::kHalf, kWidth));
        static_assert(Tile::kActivationBytes / (4 * Tile::kPixels) - kAtOnce * (Tile::kWarps + 2) ==
                      mlp_backward_outputs(Tile::kHalf, kWidth));
        launch("coord_mlp_backward", differentiate_mlp<Dtype, kWidth>, p.blocks, Tile::kThreads,
               kBackwardBytes<Tile>, stream, p);
    });
}

}  // namespace digan_fast::cuda
