#pragma once

#include <vector>

#include "render/block_kernel.h"
#include "runtime/scratch.h"

namespace digan_fast {

// The stages of an INR, with the weights of one video at a time in panels.
class StageWeights {
  public:
    explicit StageWeights(const RenderParams& params);
    StageWeights(const StageWeights&) = delete;
    StageWeights& operator=(const StageWeights&) = delete;

    void pack(int64_t video, int threads);

    const std::vector<Stage>& stages() const { return stages_; }
    // For each stage, the level that has its sinusoids.
    const std::vector<const RenderLevel*>& grids() const { return grids_; }
    // The most packed rows of any activations or features.
    int64_t widest() const { return widest_; }
    // The most blocks that go through a layer together.
    int64_t group_blocks() const { return traits_.group_blocks; }

  private:
    // A layer to pack for each video; `weight` is the first video's.
    struct Task {
        LayerPacking params;
        int64_t video_stride;
    };

    // Some columns of a layer, and how they are packed: padded to the activations' packing factor,
    // except for weights that are rotated later.
    struct Columns {
        int64_t first = 0;
        int64_t count;
        int64_t sinusoids = 0;  // as in LayerPacking
        bool with_bias = true;
        Precision precision;
        bool unrotated = false;  // as in LayerPacking
        bool split = false;      // as in PackedLayer
    };

    PackedLayer add_to_rgb(const RenderLayer& layer);
    PackedLayer add(const RenderLayer& layer, const Columns& columns);
    float* take(int64_t size);

    Scratch memory_;
    int64_t taken_ = 0;
    int64_t widest_ = 0;
    Precision precision_;
    bool terms_;          // float32 as terms
    LayerTraits traits_;  // of this precision, or of terms
    std::vector<Task> tasks_;
    std::vector<Stage> stages_;
    std::vector<const RenderLevel*> grids_;
    std::vector<std::vector<PackedLevel>> levels_;  // of each stage
    std::vector<std::vector<PackedLayer>> layers_;  // of each level
    std::vector<PackedLayer> bases_;                // of each stage but the first
};

}  // namespace digan_fast
