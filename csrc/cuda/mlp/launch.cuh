#pragma once

#include "launch.h"
#include "mlp/kernel.cuh"
#include "mlp/pack.cuh"
#include "mlp/plan.h"
#include "mlp/width.h"

namespace digan_fast::cuda {

template <class Dtype>
void pack_mlp_layer(const MlpPackParams& p, int width, std::int64_t samples, CudaStream stream) {
    constexpr int kThreads = 128;
    with_width(width, [&](auto constant) {
        launch("coord_mlp", pack_mlp<Dtype, constant.value>, samples * p.blocks, kThreads, 0,
               stream, p);
    });
}

template <class Dtype>
void launch_mlp(const MlpParams& p, int width, std::int64_t samples, CudaStream stream) {
    with_width(width, [&](auto constant) {
        constexpr int kWidth = decltype(constant)::value;
        using Tile = StageTile<Dtype, kWidth>;
        static_assert(Tile::kPixels == mlp_pixels(Tile::kHalf, kWidth));
        const auto run = [&](auto slots) {
            constexpr int kSlots = decltype(slots)::value;
            launch("coord_mlp", evaluate_mlp<Dtype, kWidth, kSlots>, samples * p.tiles,
                   Tile::kThreads, kMlpBytes<Tile, kSlots>, stream, p);
        };
        if constexpr (kWidth == 512) {
            if (shared_memory_limit("coord_mlp") < kMlpBytes<Tile, 4>)
                return run(std::integral_constant<int, 2>{});
        }
        run(std::integral_constant<int, 4>{});
    });
}

}  // namespace digan_fast::cuda
