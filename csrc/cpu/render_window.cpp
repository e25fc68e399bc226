#include "render_window.h"

namespace digan_fast {

// Blocks that the window's border cuts, into their pixels where that makes fewer blocks.
void StageWork::divide(const std::vector<Pixel>& cut) {
    int64_t pixels = static_cast<int64_t>(loose.size());
    for (const Pixel& block : cut) pixels += area.share(block.row, block.column);
    if (blocks_of(pixels) < static_cast<int64_t>(cut.size()) + blocks_of(loose.size())) {
        for (const Pixel& block : cut) {
            for (int lane = 0; lane < kBlockLanes; ++lane) {
                const Pixel pixel = block.of_lane(lane);
                if (area.holds(pixel.row, pixel.column)) loose.push_back(pixel);
            }
        }
    } else {
        whole.insert(whole.end(), cut.begin(), cut.end());
    }
    scattered.resize(blocks_of(loose.size()));
    for (size_t i = 0; i < scattered.size() * kBlockLanes; ++i) {
        const Pixel& pixel = loose[std::min(i, loose.size() - 1)];  // the last one's fill up
        Scattered& lanes = scattered[i / kBlockLanes];
        lanes.across[i % kBlockLanes] = across.of(pixel.column);
        lanes.down[i % kBlockLanes] = down.of(pixel.row);
    }
}

}  // namespace digan_fast
