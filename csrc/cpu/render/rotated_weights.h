#pragma once

// The weights of a stage's first layer, rotated for each frame, for features about the grid's
// centre.
//
// With q a pixel's position from the centre c, θ = F·q + φ′, φ′ = φ + F·c. The columns P, Q that
// multiply sin F·q and cos F·q are the weight's, rotated by φ′:
//     P = S·cos φ′ − C·sin φ′, Q = S·sin φ′ + C·cos φ′,
// and a pixel and its mirror image share both products: z(±q) = Q·cos F·q ± P·sin F·q.

#include <vector>

#include "render/stage_weights.h"
#include "runtime/scratch.h"

namespace digan_fast {

class RotatedWeights {
  public:
    // `most`: the most frames that are rendered at once.
    RotatedWeights(const RenderParams& params, const StageWeights& weights, int64_t most);
    // Rotates a stage's weights for `frames` frames of the packed video, from `first` on. With one
    // frame all stages' are kept; with several, stages share the memory.
    void rotate(size_t stage, int64_t video, int64_t first, int64_t frames);
    const RotatedLayer& of(size_t stage, int64_t frame) const {
        return layers_[stage][static_cast<size_t>(frame)];
    }

  private:
    const RenderParams& p_;
    const StageWeights& weights_;
    Scratch memory_;
    std::vector<std::vector<RotatedLayer>> layers_;  // [stage][frame]
    std::vector<int64_t> held_;                      // the first frame of each stage, or −1
    const bool shared_;
};

}  // namespace digan_fast
