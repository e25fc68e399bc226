#include "digan_fast/bias_act.h"

#include "bindings.h"

namespace digan_fast {
namespace {

void bias_act(std::uintptr_t out, std::uintptr_t x, std::uintptr_t bias, std::int64_t outer,
              std::int64_t channels, std::int64_t inner, int activation, float alpha, float gain,
              float clamp, int threads) {
    require_extent("outer", outer);
    require_extent("channels", channels);
    require_extent("inner", inner);
    require(activation >= 0 && activation < kActivations, "activation", std::to_string(activation),
            "0 to 8");
    require(clamp >= 0, "clamp", std::to_string(clamp), "0 or more, or infinity for none");
    require_threads(threads);
    if (product("inner", product("channels", outer, channels), inner) == 0) return;
    const BiasActParams params{address("out", out),
                               address("x", x),
                               optional_address("bias", bias),
                               outer,
                               channels,
                               inner,
                               static_cast<Activation>(activation),
                               alpha,
                               gain,
                               clamp,
                               threads};
    const py::gil_scoped_release release;
    bias_act_cpu(params);
}

}  // namespace

void bind_bias_act(py::module_& m) {
    using namespace py::literals;
    m.def("bias_act_cpu", &bias_act, "out"_a, "x"_a, "bias"_a, "outer"_a, "channels"_a, "inner"_a,
          "activation"_a, "alpha"_a, "gain"_a, "clamp"_a, "threads"_a);
}

}  // namespace digan_fast
