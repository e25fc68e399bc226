#include "ops/linear_act_skinny.h"

#include "gemm/skinny_kernel.h"
#include "ops/row_tasks.h"

namespace digan_fast {
namespace {

// Which matrix has many rows and which few: pixels and outputs, or the reverse if pixels are fewer.
struct Roles {
    int64_t many, few;  // rows of each, per video
    const void *many_rows, *few_rows;
    Number many_number, few_number;
    int64_t row_stride, few_stride;  // of outputs
    int64_t bias_row_stride, bias_few_stride;
    int64_t strips;

    explicit Roles(const LinearActParams& p) {
        const bool few_outputs = p.outputs <= p.rows;
        many = few_outputs ? p.rows : p.outputs;
        few = few_outputs ? p.outputs : p.rows;
        many_rows = few_outputs ? p.x : p.weight;
        few_rows = few_outputs ? p.weight : p.x;
        many_number = few_outputs ? p.x_number : p.number;
        few_number = few_outputs ? p.number : p.x_number;
        row_stride = few_outputs ? p.outputs : 1;
        few_stride = few_outputs ? 1 : p.outputs;
        bias_row_stride = few_outputs ? 0 : 1;
        bias_few_stride = few_outputs ? 1 : 0;
        strips = (many + kSkinnyStripRows - 1) / kSkinnyStripRows;
    }
    int64_t rows_of(int64_t strip) const {
        return std::min(kSkinnyStripRows, many - strip * kSkinnyStripRows);
    }
};

}  // namespace

bool is_skinny(const LinearActParams& p) {
    const bool few_outputs = p.outputs <= p.rows && p.outputs <= kSkinnyLimit;
    return few_outputs || (p.rows <= kSkinnyLimit && p.x_number == Number::float32);
}

void linear_act_skinny(const LinearActParams& p) {
    const Roles roles(p);
    const float scale = folded_gain(p.activation, p.gain);
    parallel_for(p.threads, p.videos * roles.strips, [&](int64_t task) {
        const int64_t video = task / roles.strips, strip = task % roles.strips;
        const int64_t row = strip * kSkinnyStripRows;
        const float* const bias =
            p.bias ? p.bias + (p.own_biases ? video * p.outputs : 0) : nullptr;
        skinny_gemm({
            .many = element_at(roles.many_rows, roles.many_number,
                               (video * roles.many + row) * p.inputs),
            .few = element_at(roles.few_rows, roles.few_number, video * roles.few * p.inputs),
            .many_number = roles.many_number,
            .few_number = roles.few_number,
            .rows = roles.rows_of(strip),
            .few_rows = roles.few,
            .depth = p.inputs,
            .out = element_at(p.out, p.number, video * p.rows * p.outputs + row * roles.row_stride),
            .row_stride = roles.row_stride,
            .few_stride = roles.few_stride,
            .bias = bias ? bias + row * roles.bias_row_stride : nullptr,
            .bias_row_stride = roles.bias_row_stride,
            .bias_few_stride = roles.bias_few_stride,
            .scale = scale,
            .activation = {.activation = p.activation, .gain = p.gain, .clamp = p.clamp},
        });
    });
}

void linear_act_skinny_backward(const LinearActBackwardParams& params) {
    const LinearActParams& p = params.forward;
    const Roles roles(p);
    const bool few_outputs = roles.few_stride == 1;
    void* const dmany = few_outputs ? params.dx : params.dweight;
    float* const dfew = few_outputs ? params.dweight : static_cast<float*>(params.dx);
    const bool non_temporal =
        roles.few <= kSkinnyNR &&
        bypasses_caches(dmany, roles.many_number, p.videos * roles.many, p.inputs);
    enum Sum { kFew, kBias };
    const PartialSums parts(p.videos, roles.strips, {roles.few * p.inputs, p.outputs});
    // dz of a strip has the layout of the outputs: rows of outputs, or of pixels.
    const ScratchAreas scratch(p.threads, {kSkinnyStripRows * roles.few});
    parallel_for_workers(p.threads, p.videos * parts.count(), [&](int64_t task, int worker) {
        const int64_t video = task / parts.count();
        parts.set_to_zero(task);
        float* const dz = scratch.at(worker);
        const auto [begin, end] = parts.range(task, roles.strips);
        for (int64_t strip = begin; strip < end; ++strip) {
            const int64_t row = strip * kSkinnyStripRows, count = roles.rows_of(strip);
            const int64_t dz_rows = few_outputs ? count : roles.few;
            const int64_t columns = few_outputs ? roles.few : count;
            const int64_t at = video * p.rows * p.outputs + row * roles.row_stride;
            const void *grad[kSkinnyStripRows], *out[kSkinnyStripRows];
            for (int64_t r = 0; r < dz_rows; ++r) {
                grad[r] = element_at(params.grad, p.number, at + r * p.outputs);
                out[r] = element_at(p.out, p.number, at + r * p.outputs);
            }
            activation_backward({
                .dz = dz,
                .dz_number = Number::float32,
                .dz_stride = columns,
                .grad = grad,
                .out = out,
                .number = p.number,
                .z = nullptr,
                .rows = dz_rows,
                .columns = columns,
                .dbias = parts.of(task, kBias) + row * roles.bias_row_stride,
                .activation = {.activation = p.activation, .gain = p.gain, .clamp = p.clamp},
            });
            const int64_t first = (video * roles.many + row) * p.inputs;
            skinny_gradient({
                .many = element_at(roles.many_rows, roles.many_number, first),
                .few = element_at(roles.few_rows, roles.few_number, video * roles.few * p.inputs),
                .many_number = roles.many_number,
                .few_number = roles.few_number,
                .rows = count,
                .few_rows = roles.few,
                .depth = p.inputs,
                .dz = dz,
                .row_stride = few_outputs ? roles.few : 1,
                .few_stride = few_outputs ? 1 : count,
                .dmany = element_at(dmany, roles.many_number, first),
                .dfew = parts.of(task, kFew),
                .non_temporal = non_temporal,
            });
        }
    });
    parts.add_up(dfew, kFew, p.threads);
    if (p.own_biases) {
        parts.add_up(params.dbias, kBias, 1);
    } else {
        parts.add_up_all(params.dbias, kBias);
    }
}

}  // namespace digan_fast
