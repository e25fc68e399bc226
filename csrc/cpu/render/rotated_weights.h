#pragma once

// The products of a stage with waves about its grid's centre, of each frame.
//
// With q a pixel's place about the centre c, θ = F·q + φ′, φ′ = φ + F·c. The columns P, Q that
// multiply sin F·q and cos F·q are the weight's, turned by φ′:
//     P = S·cos φ′ − C·sin φ′, Q = S·sin φ′ + C·cos φ′,
// and a pixel and its mirror image share both products: z(±q) = Q·cos F·q ± P·sin F·q.

#include <vector>

#include "render/stage_weights.h"
#include "runtime/scratch.h"

namespace digan_fast {

class TurnedWaves {
  public:
    // `most` frames go together.
    TurnedWaves(const RenderParams& params, const RenderWeights& weights, int64_t most);
    // Those of a stage and `frames` frames of the video that is packed, from `first` on. One frame
    // keeps all its stages'; several share the memory of one stage.
    void turn(size_t stage, int64_t video, int64_t first, int64_t frames);
    const FrameWaves& of(size_t stage, int64_t frame) const {
        return waves_[stage][static_cast<size_t>(frame)];
    }

  private:
    const RenderParams& p_;
    const RenderWeights& weights_;
    Buffer memory_;
    std::vector<std::vector<FrameWaves>> waves_;  // [stage][frame]
    std::vector<int64_t> held_;                   // the first frame of each stage, or −1
    const bool shared_;
};

}  // namespace digan_fast
