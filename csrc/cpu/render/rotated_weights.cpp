#include "render/rotated_weights.h"

#include <algorithm>

#include "fourier/grid_centre.h"
#include "runtime/threads.h"

namespace digan_fast {
namespace {

constexpr int64_t kLine = 16;  // elements per cache line

int64_t whole_lines(int64_t elements) { return (elements + kLine - 1) / kLine * kLine; }

}  // namespace

RotatedWeights::RotatedWeights(const RenderParams& params, const StageWeights& weights,
                               int64_t most)
    : p_(params), weights_(weights), held_(weights.stages().size(), -1), shared_(most > 1) {
    std::vector<int64_t> begin;
    int64_t size = 0;
    for (const Stage& stage : weights.stages()) {
        const int64_t own = most * 2 * whole_lines(stage.outputs * stage.rotated_depth);
        begin.push_back(shared_ ? 0 : size);
        size = shared_ ? std::max(size, own) : size + own;
    }
    memory_.reserve(size);
    for (size_t s = 0; s < begin.size(); ++s) {
        const Stage& stage = weights.stages()[s];
        const int64_t elements = whole_lines(stage.outputs * stage.rotated_depth);
        std::vector<RotatedLayer>& layers = layers_.emplace_back();
        for (int64_t frame = 0; frame < most; ++frame) {
            float* const sine = memory_.data() + begin[s] + frame * 2 * elements;
            layers.push_back({sine, sine + elements});
        }
    }
}

void RotatedWeights::rotate(size_t s, int64_t video, int64_t first, int64_t frames) {
    const int64_t picture = video * p_.frames + first;
    if (held_[s] == picture) return;
    if (shared_) std::fill(held_.begin(), held_.end(), -1);
    held_[s] = picture;
    const RenderLevel& grid = *weights_.grids()[s];
    const Stage& stage = weights_.stages()[s];
    const int64_t K = grid.sinusoids;
    std::vector<float> rotations(static_cast<size_t>(frames * 2 * K));
    parallel_for(p_.threads, frames, [&](int64_t frame) {
        phase_rotation(grid.frequency + video * K * 2, grid.phase + (picture + frame) * K, K,
                       grid.side, rotations.data() + frame * 2 * K);
    });
    // Each task rotates some rows for all frames, so that weights are read from memory once.
    const int64_t parts = (stage.outputs + kPackTaskRows - 1) / kPackTaskRows;
    parallel_for(p_.threads, parts * frames, [&](int64_t i) {
        const int64_t row = i / frames * kPackTaskRows, frame = i % frames;
        rotate_weights({
            .sine = stage.sine,
            .cosine = stage.cosine,
            .to = of(s, frame),
            .rotation = rotations.data() + frame * 2 * K,
            .sinusoids = K,
            .depth = stage.rotated_depth,
            .first = row,
            .last = std::min(row + kPackTaskRows, stage.outputs),
            .precision = p_.precision,
            .terms = stage.terms,
        });
    });
}

}  // namespace digan_fast
