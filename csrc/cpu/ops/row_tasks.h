#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "gemm/pack_weights_kernel.h"
#include "gemm/pixel_rows_kernel.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace digan_fast {

// act(z)·gain = act(gain·z), so the gain is folded into panels, bias and base.
inline float folded_gain(Activation activation, float gain) {
    return activation == Activation::sine ? 1.0f : gain;
}

// Tasks of a backward, which keep as many threads busy.
constexpr int64_t kParts = 16;

// Rows of a strip. For each strip, all sums of a weight's gradient are read and written: a megabyte
// with 512 channels. So strips of pairs of bfloat16, half as large, have up to twice as many rows
// if that leaves kParts of them.
inline int64_t strip_rows(Number number, int64_t videos, int64_t rows) {
    if (number != Number::bfloat16 || traits_of(Precision::bfloat16).pack != 2) return kStripRows;
    return std::clamp(videos * rows / kParts / kStripRows * kStripRows, kStripRows, kMostStripRows);
}

// The matrices [depth, columns] of B videos in panels.
class VideoPanels {
  public:
    // `matrix` is the first video's; each next one is depth · columns elements further.
    VideoPanels(ColumnPanelPacking matrix, int64_t videos, int threads)
        : memory_(videos, {panel_size(matrix.depth, matrix.columns)}) {
        constexpr int64_t kTaskColumns = 128;
        const int64_t tasks = (matrix.columns + kTaskColumns - 1) / kTaskColumns;
        parallel_for(threads, videos * tasks, [&](int64_t task) {
            ColumnPanelPacking one = matrix;
            one.panels = memory_.at(task / tasks);
            one.weight = element_at(matrix.weight, matrix.number,
                                    task / tasks * matrix.depth * matrix.columns);
            one.first = task % tasks * kTaskColumns;
            one.last = std::min(one.first + kTaskColumns, matrix.columns);
            pack_column_panels(one);
        });
    }
    const float* of(int64_t video) const { return memory_.at(video); }

  private:
    ScratchAreas memory_;
};

// Sums over rows, of several sizes, computed in parts whose number does not depend on the threads
// and which are added in order, so that any number of threads gives the same bits.
class PartialSums {
  public:
    PartialSums(int64_t videos, int64_t units, const std::vector<int64_t>& sizes)
        : videos_(videos),
          count_(std::clamp<int64_t>(kParts / std::max<int64_t>(1, videos), 1,
                                     std::max<int64_t>(1, units))),
          sizes_(sizes),
          memory_(videos * count_, sizes) {}

    int64_t count() const { return count_; }
    // The part of a video that a task sums into.
    float* of(int64_t task, size_t sum) const { return memory_.at(task, sum); }
    void set_to_zero(int64_t task) const {
        for (size_t sum = 0; sum < sizes_.size(); ++sum)
            std::fill_n(of(task, sum), sizes_[sum], 0.0f);
    }
    // Units [first, last) of a video's `units` that belong to a task.
    std::pair<int64_t, int64_t> range(int64_t task, int64_t units) const {
        const int64_t part = task % count_;
        return {part * units / count_, (part + 1) * units / count_};
    }
    // Adds up each video's parts of a sum into out[video · size + i].
    void add_up(float* out, size_t sum, int threads) const {
        constexpr int64_t kTaskElements = 1 << 14;
        const int64_t size = sizes_[sum];
        const int64_t pieces = (size + kTaskElements - 1) / kTaskElements;
        parallel_for(threads, videos_ * pieces, [&](int64_t task) {
            const int64_t video = task / pieces, first = task % pieces * kTaskElements;
            const int64_t last = std::min(first + kTaskElements, size);
            float* const to = out + video * size;
            std::fill(to + first, to + last, 0.0f);
            for (int64_t part = 0; part < count_; ++part) {
                const float* const from = of(video * count_ + part, sum);
                for (int64_t i = first; i < last; ++i) to[i] += from[i];
            }
        });
    }
    // The same over all videos.
    void add_up_all(float* out, size_t sum) const {
        std::fill_n(out, sizes_[sum], 0.0f);
        for (int64_t part = 0; part < videos_ * count_; ++part) {
            const float* const from = of(part, sum);
            for (int64_t i = 0; i < sizes_[sum]; ++i) out[i] += from[i];
        }
    }

  private:
    int64_t videos_, count_;
    std::vector<int64_t> sizes_;
    ScratchAreas memory_;
};

// Whether a matrix is written with non-temporal stores: if it would leave the caches before it is
// read. The limit is lower under sanitizers, whose tests have small matrices.
inline bool bypasses_caches(const void* out, Number number, int64_t rows, int64_t columns) {
    constexpr int64_t kLarge = kSanitized ? 1 << 12 : 1 << 23;
    const int64_t row = columns * (number == Number::bfloat16 ? 2 : 4);
    return rows * row >= kLarge && row % 64 == 0 && reinterpret_cast<uintptr_t>(out) % 64 == 0;
}

// Rows of scratch are a cache line further apart, so that they do not map to the same cache sets.
inline int64_t padded(int64_t elements) { return (elements + 15) / 16 * 16 + 16; }

}  // namespace digan_fast
