#pragma once

#include <algorithm>
#include <utility>

#include "buffer.h"
#include "parallel.h"
#include "row_blocks.h"

namespace digan_fast {

// act(z)·gain = act(gain·z): the gain goes into panels, bias and base.
inline float folded_gain(Activation activation, float gain) {
    return activation == Activation::sine ? 1.0f : gain;
}

// The matrices [depth, lanes] of B videos in panels.
class VideoPanels {
  public:
    // `matrix` holds the first video's; the next one follows after depth · lanes numbers.
    VideoPanels(LanePanels matrix, int64_t videos, int threads)
        : step_(panel_size(matrix.depth, matrix.lanes)), memory_(videos * step_) {
        constexpr int64_t kLanesOfATask = 128;
        const int64_t parts = (matrix.lanes + kLanesOfATask - 1) / kLanesOfATask;
        parallel_for(threads, videos * parts, [&](int64_t task) {
            LanePanels part = matrix;
            part.panels = memory_.data() + task / parts * step_;
            part.weight += task / parts * matrix.depth * matrix.lanes;
            part.first = task % parts * kLanesOfATask;
            part.last = std::min(part.first + kLanesOfATask, matrix.lanes);
            row_panels(part);
        });
    }
    const float* of(int64_t video) const { return memory_.data() + video * step_; }

  private:
    int64_t step_;
    Buffer memory_;
};

// Sums over rows are taken in parts, whose number does not depend on the threads, and the parts
// are added in order: the same bits from any number of threads.
class Parts {
  public:
    Parts(int64_t videos, int64_t units, int64_t size)
        : videos_(videos),
          count_(std::clamp<int64_t>(kParts / std::max<int64_t>(1, videos), 1,
                                     std::max<int64_t>(1, units))),
          size_(size),
          memory_(videos * count_ * size) {}

    int64_t count() const { return count_; }
    // The part of a video that a task sums into, set to zero.
    float* begin(int64_t task) const {
        float* const part = memory_.data() + task * size_;
        std::fill(part, part + size_, 0.0f);
        return part;
    }
    // Units [first, last) of a video's `units` that belong to a task.
    std::pair<int64_t, int64_t> range(int64_t task, int64_t units) const {
        const int64_t part = task % count_;
        return {part * units / count_, (part + 1) * units / count_};
    }
    // sum[video · step + i] of numbers [offset, offset + size) of the parts.
    void add_up(float* sum, int64_t offset, int64_t size, int threads) const {
        constexpr int64_t kNumbersOfATask = 1 << 14;
        const int64_t pieces = (size + kNumbersOfATask - 1) / kNumbersOfATask;
        parallel_for(threads, videos_ * pieces, [&](int64_t task) {
            const int64_t video = task / pieces, first = task % pieces * kNumbersOfATask;
            const int64_t last = std::min(first + kNumbersOfATask, size);
            float* const to = sum + video * size;
            std::fill(to + first, to + last, 0.0f);
            for (int64_t part = 0; part < count_; ++part) {
                const float* const from = memory_.data() + (video * count_ + part) * size_ + offset;
                for (int64_t i = first; i < last; ++i) to[i] += from[i];
            }
        });
    }
    // The same over all videos.
    void add_up_all(float* sum, int64_t offset, int64_t size) const {
        std::fill(sum, sum + size, 0.0f);
        for (int64_t part = 0; part < videos_ * count_; ++part) {
            const float* const from = memory_.data() + part * size_ + offset;
            for (int64_t i = 0; i < size; ++i) sum[i] += from[i];
        }
    }

  private:
    static constexpr int64_t kParts = 16;
    int64_t videos_, count_, size_;
    Buffer memory_;
};

// Whether a matrix is written past the caches: one that does not stay there until it is read.
inline bool streams(const float* out, int64_t rows, int64_t lanes) {
    constexpr int64_t kLarge = 1 << 21;
    return rows * lanes >= kLarge && lanes % 16 == 0 && reinterpret_cast<uintptr_t>(out) % 64 == 0;
}

// Rows of scratch lie a cache line further apart, so that they do not meet in the same sets.
inline int64_t padded(int64_t numbers) { return (numbers + 15) / 16 * 16 + 16; }

}  // namespace digan_fast
