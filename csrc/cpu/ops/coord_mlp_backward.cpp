#include <algorithm>
#include <cmath>
#include <vector>

#include "digan_fast/coord_mlp.h"
#include "ops/mlp_offsets.h"
#include "ops/mlp_plan.h"
#include "ops/mlp_sums.h"
#include "ops/mlp_training_panels.h"
#include "ops/row_tasks.h"

namespace digan_fast {
namespace {

// Strips of a task between two looks for a signal.
constexpr int64_t kStripsTogether = 64;

// A matrix of a strip, whose rows are points.
struct Matrix {
    float* data;
    int64_t stride;
};

// The part of a task that goes through all layers and back at once.
struct Strip {
    int64_t task, segment, set, rows;
    int worker;
    Matrix coordinates;
};

template <class T>
T* from(T* channels, int64_t n) {
    return channels ? channels + n : nullptr;
}

// A worker's matrices, and the pass of a strip.
class StripPass {
  public:
    StripPass(const CoordMlpBackwardParams& params, const std::vector<MlpPlan>& plans,
              const MlpTrainingPanels& panels, const MlpSums& sums)
        : params_(params),
          p_(params.forward),
          plans_(plans),
          panels_(panels),
          sums_(sums),
          scratch_(p_.threads, sizes()) {}

    void run(Strip s, int64_t strip) const {
        const size_t count = p_.layers.size();
        const int64_t first = strip * kStripRows, row = s.set * p_.points + first;
        const int64_t inputs = p_.layers.front().inputs, outputs = p_.layers.back().outputs;
        s.rows = std::min(kStripRows, p_.points - first);
        s.coordinates = {
            const_cast<float*>(p_.coordinates) + (p_.own_coordinates ? row : first) * inputs,
            inputs};
        for (size_t i = 0; i < count; ++i) ahead(i, s);
        const Matrix dfeatures = matrix(s, kFeatureGradient, network_inputs(p_));
        std::fill_n(dfeatures.data, s.rows * dfeatures.stride, 0.0f);
        Matrix dy{const_cast<float*>(params_.grad) + row * outputs, outputs};
        for (size_t i = count; i-- > 0 && plans_[i].wanted;) {
            if (p_.encoded && i == 0) add(dfeatures, dy, s.rows, p_.layers[0].outputs);
            dy = back(i, s, dy, dfeatures);
        }
        if (!params_.dcoordinates) return;
        const Matrix to{params_.dcoordinates + row * inputs, inputs};
        for (int64_t r = 0; r < s.rows; ++r)
            std::copy_n(dy.data + r * dy.stride, inputs, to.data + r * inputs);
        if (!p_.encoded) add(dfeatures, to, s.rows, inputs);
    }

  private:
    // Areas of each layer, then those of all.
    enum { kOperand, kOutput, kSlope, kProduct, kOfLayer };
    enum {
        kInputGradient,  // of layers with even indices, then of the others
        kInputGradientToo,
        kFeatureGradient,
        kDz,
        kPacked,
        kPackedDz,
        kTail,
        kSomeOutput,  // not kept
        kSomeProduct,
        kBias,
        kShift,
        kOfAll
    };

    std::vector<int64_t> sizes() const {
        std::vector<int64_t> sizes;
        int64_t widest = network_inputs(p_);
        bool halved = false, terms = false;
        const auto rows = [](int64_t columns) { return kStripRows * padded(columns); };
        for (size_t i = 0; i < p_.layers.size(); ++i) {
            const CoordMlpLayer& layer = p_.layers[i];
            const MlpPlan& one = plans_[i];
            sizes.push_back(one.operand ? rows(layer.inputs) / (is_halved(layer) ? 2 : 1) : 0);
            sizes.push_back(one.output ? rows(layer.outputs) : 0);
            sizes.push_back(one.slope ? rows(layer.outputs) : 0);
            sizes.push_back(layer.scale ? rows(layer.outputs) : 0);
            widest = std::max({widest, layer.inputs, layer.outputs});
            halved = halved || is_halved(layer);
            terms = terms || as_terms(layer);
        }
        const int64_t most = rows(widest);
        sizes.insert(sizes.end(), {most, most, rows(network_inputs(p_)), most, most,
                                   halved ? most : 0, 32 * kStripRows, most, most, widest, widest});
        if (terms) {
            const int64_t packed = terms_size(kStripRows, widest);
            sizes[sizes.size() - kOfAll + kPacked] = std::max(most, packed);
            sizes[sizes.size() - kOfAll + kPackedDz] = packed;
            sizes[sizes.size() - kOfAll + kTail] = terms_size(kStripRows, kTermsSide);
        }
        return sizes;
    }

    float* of_all(const Strip& s, size_t area) const {
        return scratch_.at(s.worker, p_.layers.size() * kOfLayer + area);
    }
    Matrix matrix(const Strip& s, size_t area, int64_t columns) const {
        return {of_all(s, area), padded(columns)};
    }
    Matrix of_layer(const Strip& s, size_t i, size_t area, int64_t columns) const {
        return {scratch_.at(s.worker, i * kOfLayer + area), padded(columns)};
    }
    Matrix product(size_t i, const Strip& s) const {
        const int64_t outputs = p_.layers[i].outputs;
        return p_.layers[i].scale ? of_layer(s, i, kProduct, outputs)
                                  : matrix(s, kSomeProduct, outputs);
    }
    // What layer i reads, before its modulation and without the features.
    Matrix input(size_t i, const Strip& s) const {
        if (i == 0) return s.coordinates;
        const int64_t outputs = p_.layers[i - 1].outputs;
        return plans_[i - 1].output ? of_layer(s, i - 1, kOutput, outputs)
                                    : matrix(s, kSomeOutput, outputs);
    }
    Matrix features(const Strip& s) const { return p_.encoded ? input(1, s) : s.coordinates; }
    Matrix operand(size_t i, const Strip& s) const {
        return plans_[i].operand ? of_layer(s, i, kOperand, p_.layers[i].inputs) : input(i, s);
    }
    // Columns of layer i's input that are not features.
    int64_t width(size_t i) const { return i ? p_.layers[i - 1].outputs : p_.layers[0].inputs; }

    static void add(const Matrix& x, const Matrix& to, int64_t rows, int64_t columns) {
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t n = 0; n < columns; ++n)
                to.data[r * to.stride + n] += x.data[r * x.stride + n];
    }

    // call(first column, columns, matrix) for both parts of layer i's input.
    template <class Call>
    void for_each_part(size_t i, const Strip& s, const Call& call) const {
        call(0, width(i), input(i, s));
        if (p_.layers[i].skip) call(width(i), p_.layers[i].inputs - width(i), features(s));
    }

    void ahead(size_t i, const Strip& s) const {
        const CoordMlpLayer& layer = p_.layers[i];
        const Matrix u = operand(i, s);
        if (plans_[i].operand) {
            const float* const scale = vector_of(layer.input_scale, s.set, layer.inputs);
            const float* const shift = vector_of(layer.input_shift, s.set, layer.inputs);
            for_each_part(i, s, [&](int64_t first, int64_t columns, const Matrix& x) {
                mlp_row_operand({.u = element_at(u.data, layer.number, first),
                                 .number = layer.number,
                                 .x = x.data,
                                 .scale = from(scale, first),
                                 .shift = from(shift, first),
                                 .rows = s.rows,
                                 .columns = columns,
                                 .u_stride = u.stride,
                                 .x_stride = x.stride});
            });
        }
        if (!plans_[i].ahead) return;
        const Matrix z = product(i, s);
        float *const bias = of_all(s, kBias), *const shift = of_all(s, kShift);
        set_offsets(layer, s.set, bias, shift);
        multiply(s, layer, u, z, panels_.ahead(i, s.set, s.worker), layer.inputs, layer.outputs,
                 bias);
        const bool last = i + 1 == p_.layers.size();
        mlp_row_activation(
            {.z = z.data,
             .y = last ? nullptr : input(i + 1, s).data,
             .slope = plans_[i].slope ? of_layer(s, i, kSlope, layer.outputs).data : nullptr,
             .scale = vector_of(layer.scale, s.set, layer.outputs),
             .shift = has_own_shift(layer) ? shift : nullptr,
             .rows = s.rows,
             .columns = layer.outputs,
             .stride = z.stride,
             .activation = layer.activation});
    }

    void multiply(const Strip& s, const CoordMlpLayer& layer, const Matrix& x, const Matrix& out,
                  const float* panels, int64_t depth, int64_t columns, const float* bias) const {
        row_product({.terms = as_terms(layer),
                     .out = out.data,
                     .out_stride = out.stride,
                     .x = x.data,
                     .number = operand_number(layer),
                     .x_stride = x.stride,
                     .rows = s.rows,
                     .packed = of_all(s, kPacked),
                     .panels = panels,
                     .depth = depth,
                     .columns = columns,
                     .bias = bias});
    }

    // The gradient by the output of the layer before, from that by this layer's.
    Matrix back(size_t i, const Strip& s, const Matrix& dy, const Matrix& dfeatures) const {
        const CoordMlpLayer& layer = p_.layers[i];
        const Matrix dz = matrix(s, kDz, layer.outputs);
        mlp_row_activation_gradient(
            {.dz = dz.data,
             .number = layer.number,
             .dy = dy.data,
             .slope = plans_[i].slope ? of_layer(s, i, kSlope, layer.outputs).data : nullptr,
             .z = product(i, s).data,
             .scale = vector_of(layer.scale, s.set, layer.outputs),
             .dscale = sums_.scale(i, s.segment),
             .dshift = sums_.shift(i, s.segment),
             .dbias = sums_.bias(i, s.segment),
             .rows = s.rows,
             .columns = layer.outputs,
             .dz_stride = dz.stride,
             .dy_stride = dy.stride,
             .stride = padded(layer.outputs)});
        const Matrix u = operand(i, s);
        float* const into = sums_.weight(i, s.task, s.set);
        if (into)
            gradient_product({.terms = as_terms(layer),
                              .in_squares = sums_.in_squares(i),
                              .into = into,
                              .dz = dz.data,
                              .dz_stride = dz.stride,
                              .x = u.data,
                              .x_stride = u.stride,
                              .number = operand_number(layer),
                              .rows = s.rows,
                              .outputs = layer.outputs,
                              .inputs = layer.inputs,
                              .tail = of_all(s, kTail),
                              .packed_dz = of_all(s, kPackedDz)});
        if (!plans_[i].back) return dy;
        const Matrix du = matrix(s, i % 2 ? kInputGradientToo : kInputGradient, layer.inputs);
        multiply(s, layer, dz, du, panels_.back(i, s.set, s.worker), layer.outputs, layer.inputs,
                 nullptr);
        const float* const scale = vector_of(layer.input_scale, s.set, layer.inputs);
        for_each_part(i, s, [&](int64_t first, int64_t columns, const Matrix& x) {
            const Matrix dx = first ? dfeatures : du;
            mlp_row_operand_gradient({.du = du.data + first,
                                      .dx = plans_[i].below ? dx.data : nullptr,
                                      .adds = first > 0,
                                      .x = x.data,
                                      .scale = from(scale, first),
                                      .dscale = from(sums_.input_scale(i, s.segment), first),
                                      .dshift = from(sums_.input_shift(i, s.segment), first),
                                      .rows = s.rows,
                                      .columns = columns,
                                      .du_stride = du.stride,
                                      .dx_stride = dx.stride,
                                      .x_stride = x.stride});
        });
        return du;
    }

    const CoordMlpBackwardParams& params_;
    const CoordMlpParams& p_;
    const std::vector<MlpPlan>& plans_;
    const MlpTrainingPanels& panels_;
    const MlpSums& sums_;
    ScratchAreas scratch_;
};

// The next strips of a task.
struct Cursor {
    int64_t segment = 0, strip = 0;
};

}  // namespace

void coord_mlp_backward_cpu(const CoordMlpBackwardParams& params) {
    const CoordMlpParams& p = params.forward;
    const int64_t strips = (p.points + kStripRows - 1) / kStripRows;
    const std::vector<MlpPlan> plans = mlp_plan(params);
    std::vector<bool> ahead, back;
    bool own = false, shared = false;
    for (size_t i = 0; i < p.layers.size(); ++i) {
        ahead.push_back(plans[i].ahead);
        back.push_back(plans[i].back);
        if (params.gradients[i].weight) (p.layers[i].own_weights ? own : shared) = true;
    }
    const MlpTasks tasks(p.sets, strips, own, shared);
    const MlpTrainingPanels panels(p, ahead, back, p.sets >= MlpTasks::kParts);
    const MlpSums sums(params, tasks);
    const StripPass pass(params, plans, panels, sums);
    const int64_t together = std::max<int64_t>(MlpTasks::kParts, 4 * p.threads);
    for (int64_t first = 0; first < tasks.count(); first += together) {
        const int64_t count = std::min(together, tasks.count() - first);
        std::vector<Cursor> cursors(count);
        std::atomic<bool> left{true};
        while (left) {
            if (p.pause) p.pause();
            left = false;
            parallel_for_workers(p.threads, count, [&](int64_t i, int worker) {
                const auto [begin, end] = tasks.range(first + i);
                Cursor& at = cursors[i];
                for (int64_t done = 0; begin + at.segment < end;) {
                    const int64_t index = begin + at.segment;
                    const MlpSegment& segment = tasks.segments()[index];
                    if (at.strip == 0) sums.set_to_zero(first + i, index);
                    panels.prepare(segment.set, worker);
                    for (; segment.first + at.strip < segment.last; ++at.strip, ++done) {
                        if (done == kStripsTogether) {
                            left = true;
                            return;
                        }
                        pass.run({.task = first + i,
                                  .segment = index,
                                  .set = segment.set,
                                  .rows = 0,
                                  .worker = worker,
                                  .coordinates = {}},
                                 segment.first + at.strip);
                    }
                    at = {at.segment + 1, 0};
                }
            });
        }
    }
    sums.add_up(p.threads);
}

}  // namespace digan_fast
