#pragma once

#include "launch.h"
#include "mlp/backward.cuh"
#include "mlp/width.h"

namespace digan_fast::cuda {

template <class Dtype>
void launch_mlp_backward(const MlpBackwardParams& p, int width, CudaStream stream) {
    with_width(width, [&](auto constant) {
        constexpr int kWidth = decltype(constant)::value;
        using Tile = BackwardTile<Dtype, kWidth>;
        launch("coord_mlp_backward", differentiate_mlp<Dtype, kWidth>, p.blocks, Tile::kThreads,
               kBackwardBytes<Tile>, stream, p);
    });
}

}  // namespace digan_fast::cuda
