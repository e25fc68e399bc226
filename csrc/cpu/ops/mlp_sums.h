#pragma once

// How the backward of coordinate MLPs divides points among tasks, and the sums over points that the
// tasks make. Neither depends on the number of threads.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "digan_fast/coord_mlp.h"
#include "ops/mlp_terms.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace digan_fast {

// Strips [first, last) of a sample.
struct MlpSegment {
    int64_t set, first, last;
};

// Each task's segments; a sample's follow one another.
class MlpTasks {
  public:
    static constexpr int64_t kParts = 16;

    // own, shared: whether the gradients of weights of either kind are wanted.
    MlpTasks(int64_t sets, int64_t strips, bool own, bool shared) {
        if (!own) {  // as even as possible
            const int64_t all = sets * strips, tasks = std::min(kParts, all);
            for (int64_t task = 0; task < tasks; ++task)
                add_task(task * all / tasks, (task + 1) * all / tasks, strips);
        } else if (sets < kParts) {  // parts of one sample
            const int64_t parts = std::min(std::max<int64_t>(1, kParts / sets), strips);
            whole_ = parts == 1;
            for (int64_t task = 0; task < sets * parts; ++task) {
                const int64_t begin = task / parts * strips, part = task % parts;
                add_task(begin + part * strips / parts, begin + (part + 1) * strips / parts,
                         strips);
            }
        } else {  // whole samples
            const int64_t tasks = shared ? kParts : sets;
            for (int64_t task = 0; task < tasks; ++task)
                add_task(task * sets / tasks * strips, (task + 1) * sets / tasks * strips, strips);
        }
    }

    int64_t count() const { return static_cast<int64_t>(begin_.size()) - 1; }
    // Whether no two tasks have the same sample, or else none has two.
    bool whole_samples() const { return whole_; }
    const std::vector<MlpSegment>& segments() const { return segments_; }
    // The task's segments [first, last).
    std::pair<int64_t, int64_t> range(int64_t task) const {
        return {begin_[task], begin_[task + 1]};
    }

  private:
    void add_task(int64_t unit, int64_t end, int64_t strips) {
        while (unit < end) {
            const int64_t set = unit / strips, last = std::min(end, (set + 1) * strips);
            segments_.push_back({set, unit - set * strips, last - set * strips});
            unit = last;
        }
        begin_.push_back(static_cast<int64_t>(segments_.size()));
    }

    std::vector<MlpSegment> segments_;
    std::vector<int64_t> begin_{0};
    bool whole_ = true;
};

// The sums of all tasks. A sample's own weights are summed in place if it has one task.
class MlpSums {
  public:
    MlpSums(const CoordMlpBackwardParams& params, const MlpTasks& tasks)
        : params_(params),
          tasks_(tasks),
          weights_(tasks.count(), weight_sizes()),
          vectors_(static_cast<int64_t>(tasks.segments().size()), vector_sizes()) {}

    // Of layer i; null if not wanted.
    float* weight(size_t i, int64_t task, int64_t set) const {
        float* const gradient = params_.gradients[i].weight;
        if (!gradient) return nullptr;
        return in_place(i) ? gradient + set * size(i) : weights_.at(task, i);
    }
    // Whether that is in squares.
    bool in_squares(size_t i) const { return !in_place(i) && as_terms(layer(i)); }
    float* bias(size_t i, int64_t segment) const { return vector(i, segment, kBias); }
    float* scale(size_t i, int64_t segment) const { return vector(i, segment, kScale); }
    float* shift(size_t i, int64_t segment) const { return vector(i, segment, kShift); }
    float* input_scale(size_t i, int64_t segment) const { return vector(i, segment, kInputScale); }
    float* input_shift(size_t i, int64_t segment) const { return vector(i, segment, kInputShift); }

    // Called before the first strip of a segment.
    void set_to_zero(int64_t task, int64_t segment) const {
        const bool first = segment == tasks_.range(task).first;
        for (size_t i = 0; i < layers(); ++i) {
            float* const sum = weight(i, task, tasks_.segments()[segment].set);
            if (sum && (first || layer(i).own_weights)) std::fill_n(sum, part_size(i), 0.0f);
        }
        const std::vector<int64_t> sizes = vector_sizes();
        for (size_t area = 0; area < sizes.size(); ++area)
            std::fill_n(vectors_.at(segment, area), sizes[area], 0.0f);
    }

    // Adds up all sums, in order, into the gradients.
    void add_up(int threads) const {
        for (size_t i = 0; i < layers(); ++i) add_up_weight(i, threads);
        const std::vector<int64_t> sizes = vector_sizes();
        for (size_t area = 0; area < sizes.size(); ++area) {
            const CoordMlpLayer& of = layer(area / kVectors);
            const Vector which = static_cast<Vector>(area % kVectors);
            float* const out = gradient(area / kVectors, which);
            if (!out) continue;
            const float factor = which == kBias || which == kShift ? of.omega : 1.0f;
            std::fill_n(out, params_.forward.sets * sizes[area], 0.0f);
            for (size_t segment = 0; segment < tasks_.segments().size(); ++segment) {
                float* const to = out + tasks_.segments()[segment].set * sizes[area];
                const float* const from = vectors_.at(static_cast<int64_t>(segment), area);
                for (int64_t n = 0; n < sizes[area]; ++n) to[n] += from[n];
            }
            for (int64_t n = 0; n < params_.forward.sets * sizes[area]; ++n) out[n] *= factor;
        }
    }

  private:
    enum Vector { kBias, kScale, kShift, kInputScale, kInputShift, kVectors };

    size_t layers() const { return params_.forward.layers.size(); }
    const CoordMlpLayer& layer(size_t i) const { return params_.forward.layers[i]; }
    int64_t size(size_t i) const { return layer(i).outputs * layer(i).inputs; }
    int64_t part_size(size_t i) const {
        if (!in_squares(i)) return size(i);
        return whole_squares(layer(i).outputs) * whole_squares(layer(i).inputs);
    }
    bool in_place(size_t i) const { return layer(i).own_weights && tasks_.whole_samples(); }

    float* gradient(size_t i, Vector which) const {
        const CoordMlpLayerGradient& all = params_.gradients[i];
        float* const of[kVectors] = {all.bias, all.scale, all.shift, all.input_scale,
                                     all.input_shift};
        return of[which];
    }
    float* vector(size_t i, int64_t segment, Vector which) const {
        return gradient(i, which) ? vectors_.at(segment, i * kVectors + which) : nullptr;
    }

    std::vector<int64_t> weight_sizes() const {
        std::vector<int64_t> sizes;
        for (size_t i = 0; i < layers(); ++i)
            sizes.push_back(params_.gradients[i].weight && !in_place(i) ? part_size(i) : 0);
        return sizes;
    }
    std::vector<int64_t> vector_sizes() const {
        std::vector<int64_t> sizes;
        for (size_t i = 0; i < layers(); ++i)
            for (int which = 0; which < kVectors; ++which) {
                const bool inputs = which == kInputScale || which == kInputShift;
                const int64_t channels = inputs ? layer(i).inputs : layer(i).outputs;
                sizes.push_back(gradient(i, static_cast<Vector>(which)) ? channels : 0);
            }
        return sizes;
    }

    static constexpr int64_t kTaskElements = 1 << 14;

    // call(place in the gradient, place in a part, count) for what lies together in both, of rows
    // [first, last).
    template <class Call>
    void for_each_run(size_t i, int64_t first, int64_t last, const Call& call) const {
        const int64_t inputs = layer(i).inputs;
        if (!in_squares(i)) return call(first * inputs, first * inputs, (last - first) * inputs);
        for (int64_t n = first; n < last; ++n)
            for (int64_t k = 0; k < inputs; k += kTermsSide)
                call(n * inputs + k, terms_element(n, k, layer(i).outputs),
                     std::min(kTermsSide, inputs - k));
    }

    void add_up_weight(size_t i, int threads) const {
        if (!params_.gradients[i].weight) return;
        const int64_t inputs = layer(i).inputs;
        const int64_t rows = std::max<int64_t>(1, kTaskElements / inputs);
        const int64_t pieces = (layer(i).outputs + rows - 1) / rows;
        const int64_t sets = layer(i).own_weights ? params_.forward.sets : 1;
        const int64_t parts = in_place(i) ? 0 : tasks_.count() / sets;
        parallel_for(threads, sets * pieces, [&](int64_t task) {
            const int64_t set = task / pieces, first = task % pieces * rows;
            const int64_t last = std::min(first + rows, layer(i).outputs);
            float* const to = params_.gradients[i].weight + set * size(i);
            for (int64_t part = 0; part < parts; ++part) {
                const float* const from = weights_.at(set * parts + part, i);
                for_each_run(i, first, last, [&](int64_t at, int64_t in_part, int64_t count) {
                    for (int64_t n = 0; n < count; ++n)
                        to[at + n] = part ? to[at + n] + from[in_part + n] : from[in_part + n];
                });
            }
            const float omega = layer(i).omega;
            if (omega == 1) return;
            for (int64_t n = first * inputs; n < last * inputs; ++n) to[n] *= omega;
        });
    }

    const CoordMlpBackwardParams& params_;
    const MlpTasks& tasks_;
    ScratchAreas weights_, vectors_;
};

}  // namespace digan_fast
