#include "turned_waves.h"

#include <algorithm>

#include "grid_centre.h"
#include "parallel.h"

namespace digan_fast {
namespace {

constexpr int64_t kLine = 16;  // numbers of a cache line

int64_t whole_lines(int64_t numbers) { return (numbers + kLine - 1) / kLine * kLine; }

}  // namespace

TurnedWaves::TurnedWaves(const RenderParams& params, const RenderWeights& weights, int64_t frames)
    : p_(params), weights_(weights) {
    int64_t size = 0;
    for (const Stage& stage : weights.stages())
        size += frames * 2 * whole_lines(stage.outputs * stage.turned_depth);
    float* at = memory_.reserve(size);
    for (const Stage& stage : weights.stages()) {
        const int64_t numbers = whole_lines(stage.outputs * stage.turned_depth);
        std::vector<FrameWaves>& waves = waves_.emplace_back();
        for (int64_t frame = 0; frame < frames; ++frame, at += 2 * numbers)
            waves.push_back({at, at + numbers});
    }
}

void TurnedWaves::turn(int64_t video, int64_t first, int64_t frames) {
    std::vector<TurnParams> tasks;
    std::vector<std::vector<float>> turns;
    for (size_t s = 0; s < waves_.size(); ++s) {
        const RenderLevel& grid = *weights_.grids()[s];
        const Stage& stage = weights_.stages()[s];
        const int64_t K = grid.sinusoids;
        const float* const frequency = grid.frequency + video * K * 2;
        for (int64_t frame = 0; frame < frames; ++frame) {
            const float* const phase = grid.phase + (video * p_.frames + first + frame) * K;
            std::vector<float>& turn = turns.emplace_back(2 * K);
            turn_of_frame(frequency, phase, K, grid.side, turn.data());
            for (int64_t row = 0; row < stage.outputs; row += kRowsOfAPack)
                tasks.push_back({stage.sine, stage.cosine, of(s, frame), turn.data(), K,
                                 stage.turned_depth, row,
                                 std::min(row + kRowsOfAPack, stage.outputs), p_.precision});
        }
    }
    parallel_for(p_.threads, static_cast<int64_t>(tasks.size()),
                 [&](int64_t i) { turn_waves(tasks[i]); });
}

}  // namespace digan_fast
