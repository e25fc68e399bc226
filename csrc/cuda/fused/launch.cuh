#pragma once

#include "launch.h"
#include "fused/pack.cuh"
#include "fused/render_launch.h"
#include "fused/kernel.cuh"

namespace digan_fast::cuda {

template <class Number, int WIDTH, int SLOTS>
void launch_stage(const StageParams& p, CudaStream stream) {
    using Tile = StageTile<Number, WIDTH>;
    const Area& area = p.area;
    const int top = area.top & ~1, left = area.left & ~1;
    const std::int64_t across = (area.left + area.width - left + 7) / 8;
    const std::int64_t down = (area.top + area.height - top + Tile::ROWS - 1) / Tile::ROWS;
    launch("render", render_stage<Number, WIDTH, SLOTS>, across * down * p.videos * p.frames,
           Tile::THREADS, kStageBytes<Tile, SLOTS>, stream, p);
}

template <class Number, int WIDTH>
void pack_and_launch(const StageParams& p, CudaStream stream) {
    constexpr int kThreads = 128;
    const std::int64_t blocks = static_cast<std::int64_t>(p.videos) * (p.steps + p.products);
    launch("render", pack_stage<Number, WIDTH>, blocks, kThreads, 0, stream, p);
    // Four steps ahead where they fit: always below 512, where a step has 8 KiB at most.
    using Tile = StageTile<Number, WIDTH>;
    if constexpr (WIDTH == 512) {
        if (shared_memory_limit("render") < kStageBytes<Tile, 4>) {
            launch_stage<Number, WIDTH, 2>(p, stream);
            return;
        }
    }
    launch_stage<Number, WIDTH, 4>(p, stream);
}

template <class Number>
void launch_width(const StageParams& p, int width, CudaStream stream) {
    switch (width) {
        case 64:
            return pack_and_launch<Number, 64>(p, stream);
        case 128:
            return pack_and_launch<Number, 128>(p, stream);
        case 256:
            return pack_and_launch<Number, 256>(p, stream);
        default:
            return pack_and_launch<Number, 512>(p, stream);
    }
}

}  // namespace digan_fast::cuda
