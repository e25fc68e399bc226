#include "render/block_list.h"

namespace digan_fast {

// Splits blocks cut by the window's border into pixels if that makes fewer blocks.
void StageWork::divide(const std::vector<Pixel>& cut, int64_t frames) {
    const int64_t apart = static_cast<int64_t>(loose.size());
    int64_t pixels = apart;
    for (const Pixel& block : cut) pixels += area.share(block.row, block.column);
    if (blocks_of(frames * pixels) <
        frames * static_cast<int64_t>(cut.size()) + blocks_of(frames * apart)) {
        for (const Pixel& block : cut) {
            for (int lane = 0; lane < kBlockPixels; ++lane) {
                const Pixel pixel = block.of_lane(lane);
                if (area.holds(pixel.row, pixel.column)) loose.push_back(pixel);
            }
        }
    } else {
        whole.insert(whole.end(), cut.begin(), cut.end());
    }
}

}  // namespace digan_fast
