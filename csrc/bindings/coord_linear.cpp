#include "digan_fast/coord_linear.h"

#include <algorithm>

#include "bindings.h"

namespace digan_fast {
namespace {

CoordLinearParams params_of(std::uintptr_t out, std::uintptr_t base, std::uintptr_t frequency,
                            std::uintptr_t phase, std::uintptr_t weight, std::uintptr_t bias,
                            const std::array<std::int64_t, 4>& shape,
                            const std::array<std::int64_t, 5>& grid, int activation, float gain,
                            float clamp, int threads) {
    const auto [videos, frames, sinusoids, outputs] = shape;
    for (const std::int64_t extent : shape)
        require(extent > 0, "shape", std::to_string(extent), "extents of 1 or more");
    const auto [side, top, left, height, width] = grid;
    require(side > 0 && side <= kFarthest, "grid", "of side " + std::to_string(side), "1 to 2^52");
    require_rectangle("grid", top, left, height, width);
    require_tensor("shape", {videos, frames, height, width, std::max(outputs, sinusoids)});
    require_tensor("shape", {videos, outputs, sinusoids});
    require_threads(threads);
    require_clamp(clamp);
    return {address("out", out),
            optional_address("base", base),
            address("frequency", frequency),
            address("phase", phase),
            address("weight", weight),
            optional_address("bias", bias),
            videos,
            frames,
            sinusoids,
            outputs,
            side,
            top,
            left,
            height,
            width,
            activation_of(activation, {Activation::linear, Activation::relu, Activation::lrelu}),
            gain,
            clamp,
            threads};
}

void coord_linear(std::uintptr_t out, std::uintptr_t base, std::uintptr_t frequency,
                  std::uintptr_t phase, std::uintptr_t weight, std::uintptr_t bias,
                  const std::array<std::int64_t, 4>& shape, const std::array<std::int64_t, 5>& grid,
                  int activation, float gain, float clamp, int threads) {
    const CoordLinearParams params = params_of(out, base, frequency, phase, weight, bias, shape,
                                               grid, activation, gain, clamp, threads);
    const py::gil_scoped_release release;
    coord_linear_cpu(params);
}

void coord_linear_backward(std::uintptr_t out, std::uintptr_t base, std::uintptr_t frequency,
                           std::uintptr_t phase, std::uintptr_t weight, std::uintptr_t bias,
                           const std::array<std::int64_t, 4>& shape,
                           const std::array<std::int64_t, 5>& grid, int activation, float gain,
                           float clamp, int threads, std::uintptr_t grad, std::uintptr_t dbase,
                           std::uintptr_t dfrequency, std::uintptr_t dphase, std::uintptr_t dweight,
                           std::uintptr_t dbias) {
    const CoordLinearBackwardParams params{params_of(out, base, frequency, phase, weight, bias,
                                                     shape, grid, activation, gain, clamp, threads),
                                           address("grad", grad),
                                           optional_address("dbase", dbase),
                                           address("dfrequency", dfrequency),
                                           address("dphase", dphase),
                                           address("dweight", dweight),
                                           address("dbias", dbias)};
    const py::gil_scoped_release release;
    coord_linear_backward_cpu(params);
}

}  // namespace

void bind_coord_linear(py::module_& m) {
    using namespace py::literals;
    m.def("coord_linear_cpu", &coord_linear, "out"_a, "base"_a, "frequency"_a, "phase"_a,
          "weight"_a, "bias"_a, "shape"_a, "grid"_a, "activation"_a, "gain"_a, "clamp"_a,
          "threads"_a);
    m.def("coord_linear_backward_cpu", &coord_linear_backward, "out"_a, "base"_a, "frequency"_a,
          "phase"_a, "weight"_a, "bias"_a, "shape"_a, "grid"_a, "activation"_a, "gain"_a, "clamp"_a,
          "threads"_a, "grad"_a, "dbase"_a, "dfrequency"_a, "dphase"_a, "dweight"_a, "dbias"_a);
}

}  // namespace digan_fast
