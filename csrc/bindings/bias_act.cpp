#include "digan_fast/bias_act.h"

#include <memory>

#include "bindings.h"

namespace digan_fast {
namespace {

std::int64_t checked_size(std::int64_t outer, std::int64_t channels, std::int64_t inner,
                          int activation, float clamp, int threads) {
    require_extent("outer", outer);
    require_extent("channels", channels);
    require_extent("inner", inner);
    require(activation >= 0 && activation < kActivations, "activation", std::to_string(activation),
            "0 to 9");
    require(clamp >= 0, "clamp", std::to_string(clamp), "0 or more, or infinity for none");
    require_threads(threads);
    return product("inner", product("channels", outer, channels), inner);
}

void bias_act(std::uintptr_t out, std::uintptr_t x, std::uintptr_t bias, std::int64_t outer,
              std::int64_t channels, std::int64_t inner, int activation, bool bfloat16, float alpha,
              float gain, float clamp, int threads) {
    if (checked_size(outer, channels, inner, activation, clamp, threads) == 0) return;
    const BiasActParams params{data("out", out, bfloat16),
                               data("x", x, bfloat16),
                               optional_address("bias", bias),
                               outer,
                               channels,
                               inner,
                               static_cast<Activation>(activation),
                               bfloat16 ? Number::bfloat16 : Number::float32,
                               alpha,
                               gain,
                               clamp,
                               threads};
    const py::gil_scoped_release release;
    bias_act_cpu(params);
}

void bias_act_backward(std::uintptr_t dx, std::uintptr_t dbias, std::uintptr_t grad,
                       std::uintptr_t x, std::uintptr_t bias, std::uintptr_t out,
                       std::int64_t outer, std::int64_t channels, std::int64_t inner,
                       int activation, bool bfloat16, bool grad_expanded, float alpha, float gain,
                       float clamp, int threads) {
    const std::int64_t size = checked_size(outer, channels, inner, activation, clamp, threads);
    if (channels == 0) return;
    BiasActBackwardParams params{};
    params.dbias = address("dbias", dbias);
    params.outer = outer;
    params.channels = channels;
    params.inner = inner;
    params.activation = static_cast<Activation>(activation);
    params.number = bfloat16 ? Number::bfloat16 : Number::float32;
    params.grad_expanded = grad_expanded;
    params.alpha = alpha;
    params.gain = gain;
    params.clamp = clamp;
    params.threads = threads;
    std::unique_ptr<float[]> partials;
    if (size > 0) {
        const bool reads_x = params.activation > Activation::lrelu;
        params.dx = data("dx", dx, bfloat16);
        params.grad = data("grad", grad, bfloat16);
        params.x = reads_x ? data("x", x, bfloat16) : nullptr;
        params.bias = optional_address("bias", bias);
        params.out = data("out", out, bfloat16);
        partials.reset(new float[bias_act_partials(outer, channels, inner)]);
        params.partials = partials.get();
    }
    const py::gil_scoped_release release;
    bias_act_backward_cpu(params);
}

}  // namespace

void bind_bias_act(py::module_& m) {
    using namespace py::literals;
    m.def("bias_act_cpu", &bias_act, "out"_a, "x"_a, "bias"_a, "outer"_a, "channels"_a, "inner"_a,
          "activation"_a, "bfloat16"_a, "alpha"_a, "gain"_a, "clamp"_a, "threads"_a);
    m.def("bias_act_backward_cpu", &bias_act_backward, "dx"_a, "dbias"_a, "grad"_a, "x"_a, "bias"_a,
          "out"_a, "outer"_a, "channels"_a, "inner"_a, "activation"_a, "bfloat16"_a,
          "grad_expanded"_a, "alpha"_a, "gain"_a, "clamp"_a, "threads"_a);
}

}  // namespace digan_fast
