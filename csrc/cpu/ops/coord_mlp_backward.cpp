#include <algorithm>
#include <cmath>
#include <vector>

#include "digan_fast/coord_mlp.h"
#include "ops/coord_mlp_products_kernel.h"
#include "ops/mlp_offsets.h"
#include "ops/mlp_strip_matrices.h"
#include "ops/mlp_sums.h"

namespace digan_fast {
namespace {

// Strips of a task between two looks for a signal.
constexpr int64_t kStripsTogether = 64;

template <class T>
T* from(T* channels, int64_t n) {
    return channels ? channels + n : nullptr;
}

// The pass of a strip.
class StripPass {
    using Area = MlpStripMatrices;

  public:
    StripPass(const CoordMlpBackwardParams& params, const std::vector<MlpPlan>& plans,
              const MlpTrainingPanels& panels, const MlpSums& sums)
        : params_(params),
          p_(params.forward),
          plans_(plans),
          panels_(panels),
          sums_(sums),
          at_(p_, plans) {}

    void run(MlpStrip s, int64_t strip) const {
        const size_t count = p_.layers.size();
        const int64_t first = strip * kMlpStripRows, row = s.set * p_.points + first;
        const int64_t inputs = p_.layers.front().inputs, outputs = p_.layers.back().outputs;
        s.rows = std::min(kMlpStripRows, p_.points - first);
        s.coordinates = {
            const_cast<float*>(p_.coordinates) + (p_.own_coordinates ? row : first) * inputs,
            inputs};
        for (size_t i = 0; i < count; ++i) ahead(i, s);
        const Matrix dfeatures = at_.matrix(s, Area::kFeatureGradient, network_inputs(p_));
        std::fill_n(dfeatures.data, s.rows * dfeatures.stride, 0.0f);
        Matrix dy{const_cast<float*>(params_.grad) + row * outputs, outputs};
        for (size_t i = count; i-- > 0 && plans_[i].wanted;) {
            if (p_.encoded && i == 0) add(dfeatures, dy, s.rows, p_.layers[0].outputs);
            const Matrix dz = plans_[i].dz_from_next ? dy : activation_gradient(i, s, dy);
            add_weight_gradient(i, s, dz);
            if (plans_[i].back) dy = back(i, s, dz, dfeatures);
        }
        if (!params_.dcoordinates) return;
        const Matrix to{params_.dcoordinates + row * inputs, inputs};
        for (int64_t r = 0; r < s.rows; ++r)
            std::copy_n(dy.data + r * dy.stride, inputs, to.data + r * inputs);
        if (!p_.encoded) add(dfeatures, to, s.rows, inputs);
    }

  private:
    // Columns of layer i's input that are not features.
    int64_t width(size_t i) const { return i ? p_.layers[i - 1].outputs : p_.layers[0].inputs; }

    static void add(const Matrix& x, const Matrix& to, int64_t rows, int64_t columns) {
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t n = 0; n < columns; ++n)
                to.data[r * to.stride + n] += x.data[r * x.stride + n];
    }

    // call(first column, columns, matrix) for both parts of layer i's input.
    template <class Call>
    void for_each_part(size_t i, const MlpStrip& s, const Call& call) const {
        call(0, width(i), at_.input(i, s));
        if (p_.layers[i].skip) call(width(i), p_.layers[i].inputs - width(i), at_.features(s));
    }

    void ahead(size_t i, const MlpStrip& s) const {
        const CoordMlpLayer& layer = p_.layers[i];
        const Matrix u = at_.operand(i, s);
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
        float* const bias = at_.of_all(s, Area::kBias);
        float* const shift = at_.of_all(s, Area::kShift);
        set_offsets(layer, s.set, bias, shift);
        const RowFactors factors =
            factors_of(s, i, u, panels_.ahead(i, s.set, s.worker), layer.inputs, layer.outputs);
        const Matrix slope = at_.slope(i, s);
        const bool last = i + 1 == p_.layers.size(), joins = plans_[i].joined;
        const bool weight = joins && params_.gradients[i + 1].weight;
        mlp_activation({.factors = factors,
                        .bias = bias,
                        .scale = vector_of(layer.scale, s.set, layer.outputs),
                        .shift = has_own_shift(layer) ? shift : nullptr,
                        .activation = layer.activation,
                        .z = at_.product(i, s).data,
                        .slope = slope.data,
                        .y = last || joins ? nullptr : at_.input(i + 1, s).data,
                        .stride = padded(layer.outputs),
                        .y_rows = joins && plans_[i + 1].ahead ? at_.packed(i + 1, s) : nullptr,
                        .y_columns = weight ? at_.operand_terms(i + 1, s) : nullptr});
    }

    RowFactors factors_of(const MlpStrip& s, size_t i, const Matrix& x, const float* panels,
                          int64_t depth, int64_t columns) const {
        const CoordMlpLayer& layer = p_.layers[i];
        return {.terms = as_terms(layer),
                .x = x.data,
                .number = operand_number(layer),
                .x_stride = x.stride,
                .rows = s.rows,
                .packed = at_.packed(i, s),
                .panels = panels,
                .depth = depth,
                .columns = columns};
    }

    static void multiply(const RowFactors& factors, const Matrix& out, const float* bias) {
        row_product({.factors = factors, .out = out.data, .out_stride = out.stride, .bias = bias});
    }

    // dz: dy itself of a linear layer in float32 without a scale.
    Matrix activation_gradient(size_t i, const MlpStrip& s, const Matrix& dy) const {
        const CoordMlpLayer& layer = p_.layers[i];
        const bool same = !plans_[i].slope && !layer.scale && layer.number == Number::float32;
        const Matrix dz = same ? dy : at_.matrix(s, Area::kDz, layer.outputs);
        mlp_row_activation_gradient({.dz = same ? nullptr : dz.data,
                                     .number = layer.number,
                                     .dy = dy.data,
                                     .slope = at_.slope(i, s).data,
                                     .selects = layer.activation == Activation::relu,
                                     .z = at_.product(i, s).data,
                                     .scale = vector_of(layer.scale, s.set, layer.outputs),
                                     .dscale = sums_.scale(i, s.segment),
                                     .dshift = sums_.shift(i, s.segment),
                                     .dbias = sums_.bias(i, s.segment),
                                     .rows = s.rows,
                                     .columns = layer.outputs,
                                     .dz_stride = dz.stride,
                                     .dy_stride = dy.stride,
                                     .stride = padded(layer.outputs)});
        return dz;
    }

    void add_weight_gradient(size_t i, const MlpStrip& s, const Matrix& dz) const {
        const CoordMlpLayer& layer = p_.layers[i];
        const Matrix u = at_.operand(i, s);
        float* const into = sums_.weight(i, s.task, s.set);
        if (!into) return;
        gradient_product({.terms = as_terms(layer),
                          .in_squares = sums_.in_squares(i),
                          .into = into,
                          .dz = dz.data,
                          .dz_stride = dz.stride,
                          .x = u.data,
                          .x_stride = u.stride,
                          .packed_x = at_.operand_terms(i, s),
                          .number = operand_number(layer),
                          .rows = s.rows,
                          .outputs = layer.outputs,
                          .inputs = layer.inputs,
                          .tail = at_.of_all(s, Area::kTail),
                          .packed_dz = at_.of_all(s, Area::kPackedDz)});
    }

    // dz of the layer before, where this product leaves it, or the gradient by its output.
    Matrix back(size_t i, const MlpStrip& s, const Matrix& dz, const Matrix& dfeatures) const {
        const CoordMlpLayer& layer = p_.layers[i];
        const Matrix rows = plans_[i].joined ? Matrix{} : dz;
        const RowFactors factors =
            factors_of(s, i, rows, panels_.back(i, s.set, s.worker), layer.outputs, layer.inputs);
        const Matrix du =
            at_.matrix(s, i % 2 ? Area::kInputGradientToo : Area::kInputGradient, layer.inputs);
        if (i > 0 && plans_[i - 1].dz_from_next) {
            const CoordMlpLayer& before = p_.layers[i - 1];
            mlp_activation_gradient({.factors = factors,
                                     .slope = at_.slope(i - 1, s).data,
                                     .selects = before.activation == Activation::relu,
                                     .z = at_.product(i - 1, s).data,
                                     .stride = padded(before.outputs),
                                     .scale = vector_of(before.scale, s.set, before.outputs),
                                     .dz = du.data,
                                     .dz_number = operand_number(before),
                                     .dz_stride = du.stride,
                                     .dz_rows = at_.joined(i) ? at_.packed(i - 1, s) : nullptr,
                                     .dscale = sums_.scale(i - 1, s.segment),
                                     .dshift = sums_.shift(i - 1, s.segment),
                                     .dbias = sums_.bias(i - 1, s.segment)});
            return du;
        }
        multiply(factors, du, nullptr);
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
    const MlpStripMatrices at_;
};

// The next strips of a task.
struct Cursor {
    int64_t segment = 0, strip = 0;
};

}  // namespace

void coord_mlp_backward_cpu(const CoordMlpBackwardParams& params) {
    const CoordMlpParams& p = params.forward;
    const int64_t strips = (p.points + kMlpStripRows - 1) / kMlpStripRows;
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
