#include <limits>

#include "digan_fast/linear_act.h"
#include "gemm/plan.h"
#include "reduce/row_sums.h"

namespace digan_fast {
namespace {

using namespace cuda;

// Sums over rows: of the bias, for each video where it has its own, and of the weights.
struct BackwardPlan {
    std::int64_t groups, group_rows, bias_parts;
    SplitK weight;
    std::int64_t weight_elements;

    explicit BackwardPlan(const LinearActCudaParams& p)
        : groups(p.own_biases ? p.videos : 1),
          group_rows(p.own_biases ? p.rows : p.videos * p.rows),
          bias_parts(row_sum_parts(group_rows)),
          weight(split_k(p.outputs, p.inputs, p.videos, p.rows, p.number)),
          weight_elements(p.videos * p.outputs * p.inputs) {}

    std::int64_t bias_elements(const LinearActCudaParams& p) const {
        return groups * bias_parts * p.outputs;
    }
};

Operand inputs_of(const LinearActCudaParams& p, bool transposed) {
    return {p.x, p.shared_x ? 0 : p.rows * p.inputs, p.inputs, 1, 0, transposed, false};
}

Operand weights_of(const LinearActCudaParams& p, bool transposed) {
    return {p.weight, p.outputs * p.inputs, p.inputs, 1, 0, transposed, false};
}

Operand gradients_of(const LinearActCudaParams& p, const void* dz, bool transposed) {
    return {dz, p.rows * p.outputs, p.outputs, 1, 0, transposed, false};
}

GemmParams gemm_of(const LinearActCudaParams& p) {
    GemmParams q{};
    q.out = p.out;
    q.left = inputs_of(p, false);
    q.right = weights_of(p, false);
    q.batches = p.videos;
    q.rows = p.rows;
    q.columns = p.outputs;
    q.depth = q.split_depth = p.inputs;
    q.splits = 1;
    q.output = GemmOutput::activated;
    q.bias = p.bias;
    q.bias_batch = p.own_biases ? p.outputs : 0;
    q.epilogue = epilogue_of(p.activation, p.gain, p.clamp);
    return q;
}

}  // namespace

void linear_act_cuda(const LinearActCudaParams& p, CudaStream stream) {
    run_gemm("linear_act", p.number, p.tf32, gemm_of(p), false, stream);
}

std::int64_t linear_act_cuda_partials(const LinearActCudaParams& p) {
    const BackwardPlan plan(p);
    return plan.bias_elements(p) +
           (plan.weight.count > 1 ? plan.weight.count : 0) * plan.weight_elements;
}

void linear_act_backward_cuda(const LinearActCudaBackwardParams& b, CudaStream stream) {
    const char* op = "linear_act_backward";
    const LinearActCudaParams& p = b.forward;
    const BackwardPlan plan(p);
    const void* dz = b.dz ? b.dz : b.grad;
    GradientParams g{};
    g.dz = b.dz;
    g.partials = b.partials;
    g.grad = b.grad;
    g.saved = p.out;
    g.groups = plan.groups;
    g.rows = plan.group_rows;
    g.columns = p.outputs;
    g.parts = plan.bias_parts;
    g.epilogue = epilogue_of(p.activation, p.gain, p.clamp);
    if (p.activation == Activation::sine) {
        // z, which its derivative needs, is recomputed.
        GemmParams q = gemm_of(p);
        q.out = b.dz;
        q.output = GemmOutput::gradient;
        q.grad = b.grad;
        q.saved = p.out;
        run_gemm(op, p.number, p.tf32, q, false, stream);
        g.grad = b.dz;
        g.dz = nullptr;
        g.epilogue = epilogue_of(Activation::linear, 1.0f, std::numeric_limits<float>::infinity());
    }
    if (!g.dz) g.saved = nullptr;
    pre_activation_gradient(op, p.number, g, stream);
    sum_rows(op, {b.dbias, b.partials, plan.groups, plan.bias_parts, p.outputs, Number::float32},
             stream);

    GemmParams dx{};
    dx.out = b.dx;
    dx.left = gradients_of(p, dz, false);
    dx.right = weights_of(p, true);
    dx.batches = p.videos;
    dx.rows = p.rows;
    dx.columns = p.inputs;
    dx.depth = dx.split_depth = p.outputs;
    dx.splits = 1;
    dx.output = GemmOutput::plain;
    run_gemm(op, p.number, p.tf32, dx, false, stream);

    float* weight_partials = b.partials + plan.bias_elements(p);
    const bool is_split = plan.weight.count > 1;
    GemmParams dw{};
    dw.out = is_split ? weight_partials : b.dweight;
    dw.left = gradients_of(p, dz, true);
    dw.right = inputs_of(p, true);
    dw.batches = p.videos;
    dw.rows = p.outputs;
    dw.columns = p.inputs;
    dw.depth = p.rows;
    dw.splits = plan.weight.count;
    dw.split_depth = plan.weight.depth;
    dw.output = is_split ? GemmOutput::partial : GemmOutput::plain;
    run_gemm(op, p.number, p.tf32, dw, false, stream);
    if (is_split)
        sum_rows(op,
                 {b.dweight, weight_partials, 1, plan.weight.count, plan.weight_elements, p.number},
                 stream);
}

}  // namespace digan_fast
