#include "digan_fast/coord_linear.h"
#include "gemm/plan.h"
#include "reduce/row_sums.h"

namespace digan_fast {
namespace {

using namespace cuda;

// Sums over pixels: of the bias, of the weights, and the tiles whose sums of dθ are added.
struct BackwardPlan {
    std::int64_t pixels, parents, bias_parts, tiles;
    SplitK weight;
    std::int64_t weight_elements;

    explicit BackwardPlan(const CoordLinearCudaParams& p)
        : pixels(p.height * p.width),
          parents(p.videos * p.frames * (p.base ? p.base_height * p.base_width : pixels)),
          bias_parts(row_sum_parts(parents)),
          tiles((pixels + 127) / 128),
          weight(split_k(p.outputs, 2 * p.sinusoids, p.videos, p.frames * pixels, p.number)),
          weight_elements(p.videos * p.outputs * 2 * p.sinusoids) {}

    std::int64_t bias_elements(const CoordLinearCudaParams& p) const {
        return bias_parts * p.outputs;
    }
    std::int64_t theta_elements(const CoordLinearCudaParams& p) const {
        return p.videos * p.frames * tiles * 3 * p.sinusoids;
    }
};

Features features_of(const CoordLinearCudaParams& p) {
    return {p.frequency, p.phase, p.base,   p.frames, p.sinusoids,   p.side,
            p.top,       p.left,  p.height, p.width,  p.base_height, p.base_width};
}

Operand weights_of(const CoordLinearCudaParams& p, bool transposed) {
    const std::int64_t inputs = 2 * p.sinusoids;
    return {p.weight, p.outputs * inputs, inputs, p.frames, p.sinusoids, transposed, false};
}

}  // namespace

void coord_linear_cuda(const CoordLinearCudaParams& p, CudaStream stream) {
    GemmParams q{};
    q.out = p.out;
    q.left.shared_by = 1;
    q.right = weights_of(p, false);
    q.batches = p.videos * p.frames;
    q.rows = p.height * p.width;
    q.columns = p.outputs;
    q.depth = q.split_depth = p.sinusoids;
    q.splits = 1;
    q.output = GemmOutput::activated;
    q.bias = p.bias;
    q.epilogue = epilogue_of(p.activation, p.gain, p.clamp);
    q.features = features_of(p);
    run_gemm("coord_linear", p.number, p.tf32, q, true, stream);
}

std::int64_t coord_linear_cuda_partials(const CoordLinearCudaParams& p) {
    const BackwardPlan plan(p);
    return plan.bias_elements(p) + plan.theta_elements(p) +
           (plan.weight.count > 1 ? plan.weight.count : 0) * plan.weight_elements;
}

void coord_linear_backward_cuda(const CoordLinearCudaBackwardParams& b, CudaStream stream) {
    const char* op = "coord_linear_backward";
    const CoordLinearCudaParams& p = b.forward;
    const BackwardPlan plan(p);
    const void* dz = b.dz ? b.dz : b.grad;
    const std::int64_t frames = p.videos * p.frames;
    float* theta_partials = b.partials + plan.bias_elements(p);
    float* weight_partials = theta_partials + plan.theta_elements(p);

    GradientParams g{};
    g.dz = b.dz;
    g.dbase = b.dbase;
    g.partials = b.partials;
    g.grad = b.grad;
    g.saved = b.dz ? p.out : nullptr;
    g.groups = 1;
    g.rows = plan.parents;
    g.columns = p.outputs;
    g.parts = plan.bias_parts;
    g.epilogue = epilogue_of(p.activation, p.gain, p.clamp);
    g.features = features_of(p);
    pre_activation_gradient(op, p.number, g, stream);
    sum_rows(op, {b.dbias, b.partials, 1, plan.bias_parts, p.outputs, Number::float32}, stream);

    const bool is_split = plan.weight.count > 1;
    GemmParams dw{};
    dw.out = is_split ? weight_partials : b.dweight;
    dw.left = {dz, p.frames * plan.pixels * p.outputs, p.outputs, 1, 0, true, false};
    dw.right.transposed = true;
    dw.right.shared_by = 1;
    dw.batches = p.videos;
    dw.rows = p.outputs;
    dw.columns = p.sinusoids;
    dw.depth = p.frames * plan.pixels;
    dw.splits = plan.weight.count;
    dw.split_depth = plan.weight.depth;
    dw.output = is_split ? GemmOutput::partial : GemmOutput::plain;
    dw.features = features_of(p);
    run_gemm(op, p.number, p.tf32, dw, true, stream);
    if (is_split)
        sum_rows(op,
                 {b.dweight, weight_partials, 1, plan.weight.count, plan.weight_elements, p.number},
                 stream);

    GemmParams theta{};
    theta.out = theta_partials;
    theta.left = {dz, plan.pixels * p.outputs, p.outputs, 1, 0, false, false};
    theta.right = weights_of(p, true);
    theta.batches = frames;
    theta.rows = plan.pixels;
    theta.columns = p.sinusoids;
    theta.depth = theta.split_depth = p.outputs;
    theta.splits = 1;
    theta.output = GemmOutput::theta;
    theta.features = features_of(p);
    run_gemm(op, p.number, p.tf32, theta, true, stream);
    const std::int64_t sums = 3 * p.sinusoids;
    sum_rows(op, {b.dtheta, theta_partials, frames, plan.tiles, sums, Number::float32}, stream);
    sum_rows(op, {b.dvideo, b.dtheta, p.videos, p.frames, sums, Number::float32}, stream);
}

}  // namespace digan_fast
