#pragma once

#include "fused/kernel.cuh"
#include "fused/pack.cuh"
#include "fused/plan.h"
#include "launch.h"

namespace digan_fast::cuda {

template <class Dtype, int Width, int Slots>
void launch_kernel(const StageParams& p, CudaStream stream) {
    using Tile = StageTile<Dtype, Width>;
    const Area& area = p.area;
    const int top = area.top & ~1, left = area.left & ~1;
    const std::int64_t across = (area.left + area.width - left + 7) / 8;
    const std::int64_t down = (area.top + area.height - top + Tile::kRows - 1) / Tile::kRows;
    launch("render", render_stage<Dtype, Width, Slots>, across * down * p.videos * p.frames,
           Tile::kThreads, kStageBytes<Tile, Slots>, stream, p);
}

template <class Dtype, int Width>
void pack_and_launch(const StageParams& p, CudaStream stream) {
    constexpr int kThreads = 128;
    const std::int64_t blocks = static_cast<std::int64_t>(p.videos) * (p.steps + p.products);
    launch("render", pack_stage<Dtype, Width>, blocks, kThreads, 0, stream, p);
    // Four steps ahead where they fit: always below 512, where a step has 8 KiB at most.
    using Tile = StageTile<Dtype, Width>;
    if constexpr (Width == 512) {
        if (shared_memory_limit("render") < kStageBytes<Tile, 4>) {
            launch_kernel<Dtype, Width, 2>(p, stream);
            return;
        }
    }
    launch_kernel<Dtype, Width, 4>(p, stream);
}

template <class Dtype>
void launch_stage(const StageParams& p, int width, CudaStream stream) {
    switch (width) {
        case 64:
            return pack_and_launch<Dtype, 64>(p, stream);
        case 128:
            return pack_and_launch<Dtype, 128>(p, stream);
        case 256:
            return pack_and_launch<Dtype, 256>(p, stream);
        default:
            return pack_and_launch<Dtype, 512>(p, stream);
    }
}

}  // namespace digan_fast::cuda
