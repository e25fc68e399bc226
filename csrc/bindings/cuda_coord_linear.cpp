#include <algorithm>

#include "cuda.h"
#include "digan_fast/coord_linear.h"

namespace digan_fast {
namespace {

// videos, frames, sinusoids, outputs
using Shape = std::array<std::int64_t, 4>;
// side, top, left, height, width
using Grid = std::array<std::int64_t, 5>;

CoordLinearCudaParams checked(const Shape& shape, const Grid& grid, int activation, int number,
                              bool tf32, float gain, float clamp) {
    const auto [videos, frames, sinusoids, outputs] = shape;
    const auto [side, top, left, height, width] = grid;
    for (const std::int64_t extent : shape)
        require(extent > 0, "shape", std::to_string(extent), "extents of 1 or more");
    require(side > 0 && side <= kFarthest, "grid", "of side " + std::to_string(side), "1 to 2^52");
    require_rectangle("grid", top, left, height, width);
    require_tensor("shape", {videos, frames, height, width, std::max(outputs, sinusoids)});
    require_tensor("shape", {videos, outputs, sinusoids});
    for (const std::int64_t terms : {sinusoids, outputs})
        require(terms <= kMostCudaTerms, "shape", std::to_string(terms), "2^30 or fewer channels");
    require_clamp(clamp);
    CoordLinearCudaParams params{};
    params.videos = videos;
    params.frames = frames;
    params.sinusoids = sinusoids;
    params.outputs = outputs;
    params.side = side;
    params.top = top;
    params.left = left;
    params.height = height;
    params.width = width;
    // The half-resolution ancestors of the rectangle.
    params.base_height = (height + (top & 1) + 1) / 2;
    params.base_width = (width + (left & 1) + 1) / 2;
    params.activation =
        activation_of(activation, {Activation::linear, Activation::relu, Activation::lrelu});
    params.number = number_of(number);
    params.tf32 = tf32;
    params.gain = gain;
    params.clamp = clamp;
    return params;
}

void fill(CoordLinearCudaParams& params, std::uintptr_t base, std::uintptr_t frequency,
          std::uintptr_t phase, std::uintptr_t weight, std::uintptr_t bias) {
    params.base = base ? cuda_data("base", base, params.number) : nullptr;
    params.frequency = address("frequency", frequency);
    params.phase = address("phase", phase);
    params.weight = cuda_data("weight", weight, params.number);
    params.bias = optional_address("bias", bias);
}

void coord_linear(std::uintptr_t out, std::uintptr_t base, std::uintptr_t frequency,
                  std::uintptr_t phase, std::uintptr_t weight, std::uintptr_t bias,
                  const Shape& shape, const Grid& grid, int activation, int number, bool tf32,
                  float gain, float clamp, std::uintptr_t stream) {
    CoordLinearCudaParams params = checked(shape, grid, activation, number, tf32, gain, clamp);
    fill(params, base, frequency, phase, weight, bias);
    params.out = cuda_data("out", out, params.number);
    const py::gil_scoped_release release;
    coord_linear_cuda(params, stream_of(stream));
}

void coord_linear_backward(std::uintptr_t dbase, std::uintptr_t dtheta, std::uintptr_t dvideo,
                           std::uintptr_t dweight, std::uintptr_t dbias, std::uintptr_t dz,
                           std::uintptr_t partials, std::uintptr_t grad, std::uintptr_t base,
                           std::uintptr_t frequency, std::uintptr_t phase, std::uintptr_t weight,
                           std::uintptr_t saved, const Shape& shape, const Grid& grid,
                           int activation, int number, bool tf32, float gain, float clamp,
                           std::uintptr_t stream) {
    CoordLinearCudaBackwardParams params{};
    CoordLinearCudaParams& forward = params.forward;
    forward = checked(shape, grid, activation, number, tf32, gain, clamp);
    fill(forward, base, frequency, phase, weight, 0);
    forward.out = cuda_data("saved", saved, forward.number);
    const bool is_identity = forward.activation == Activation::linear && gain == 1 &&
                             clamp == std::numeric_limits<float>::infinity();
    params.grad = cuda_data("grad", grad, forward.number);
    params.dz = is_identity && !dz ? nullptr : cuda_data("dz", dz, forward.number);
    params.dbase = base ? cuda_data("dbase", dbase, forward.number) : nullptr;
    params.dweight = cuda_data("dweight", dweight, forward.number);
    params.dtheta = address("dtheta", dtheta);
    params.dvideo = address("dvideo", dvideo);
    params.dbias = address("dbias", dbias);
    params.partials = address("partials", partials);
    const py::gil_scoped_release release;
    coord_linear_backward_cuda(params, stream_of(stream));
}

std::int64_t partials(const Shape& shape, const Grid& grid, bool based, int number) {
    CoordLinearCudaParams params =
        checked(shape, grid, static_cast<int>(Activation::linear), number, false, 1.0f, 1.0f);
    params.base = based ? &params : nullptr;  // whether there is one decides
    return coord_linear_cuda_partials(params);
}

}  // namespace

void bind_cuda_coord_linear(py::module_& m) {
    using namespace py::literals;
    m.def("coord_linear_cuda", &coord_linear, "out"_a, "base"_a, "frequency"_a, "phase"_a,
          "weight"_a, "bias"_a, "shape"_a, "grid"_a, "activation"_a, "number"_a, "tf32"_a, "gain"_a,
          "clamp"_a, "stream"_a);
    m.def("coord_linear_cuda_partials", &partials, "shape"_a, "grid"_a, "based"_a, "number"_a);
    m.def("coord_linear_backward_cuda", &coord_linear_backward, "dbase"_a, "dtheta"_a, "dvideo"_a,
          "dweight"_a, "dbias"_a, "dz"_a, "partials"_a, "grad"_a, "base"_a, "frequency"_a,
          "phase"_a, "weight"_a, "saved"_a, "shape"_a, "grid"_a, "activation"_a, "number"_a,
          "tf32"_a, "gain"_a, "clamp"_a, "stream"_a);
}

}  // namespace digan_fast
