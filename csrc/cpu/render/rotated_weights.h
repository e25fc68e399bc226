#pragma once

// The first layer's weights of a stage for features about its grid's centre, rotated for each
// frame.
//
// With q a pixel's place about the centre c, θ = F·q + φ′, φ′ = φ + F·c. The columns P, Q that
// multiply sin F·q and cos F·q are the weight's, rotated by φ′:
//     P = S·cos φ′ − C·sin φ′, Q = S·sin φ′ + C·cos φ′,
// and a pixel and its mirror image share both products: z(±q) = Q·cos F·q ± P·sin F·q.

#include <vector>

#include "render/stage_weights.h"
#include "runtime/scratch.h"

namespace digan_fast {

class RotatedWeights {
  public:
    // `most` frames go together.
    RotatedWeights(const RenderParams& params, const StageWeights& weights, int64_t most);
    // Those of a stage and `frames` frames of the video that is packed, from `first` on. One frame
    // keeps all its stages'; several share the memory of one stage.
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
