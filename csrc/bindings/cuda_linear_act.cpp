#include <algorithm>

#include "cuda.h"
#include "digan_fast/linear_act.h"

namespace digan_fast {
namespace {

// videos, rows, inputs, outputs
using Shape = std::array<std::int64_t, 4>;

LinearActCudaParams checked(const Shape& shape, bool shared_x, bool own_biases, int activation,
                            int number, bool tf32, float gain, float clamp) {
    const auto [videos, rows, inputs, outputs] = shape;
    for (const std::int64_t extent : shape)
        require(extent > 0, "shape", std::to_string(extent), "extents of 1 or more");
    require_tensor("shape", {videos, rows, std::max(inputs, outputs)});
    require_tensor("shape", {videos, outputs, inputs});
    for (const std::int64_t terms : {inputs, outputs})
        require(terms <= kMostCudaTerms, "shape", std::to_string(terms), "2^30 or fewer channels");
    require_clamp(clamp);
    LinearActCudaParams params{};
    params.shared_x = shared_x;
    params.own_biases = own_biases;
    params.videos = videos;
    params.rows = rows;
    params.inputs = inputs;
    params.outputs = outputs;
    params.activation = activation_of(
        activation, {Activation::linear, Activation::relu, Activation::lrelu, Activation::sine});
    params.number = number_of(number);
    params.tf32 = tf32;
    params.gain = gain;
    params.clamp = clamp;
    return params;
}

void linear_act(std::uintptr_t out, std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias,
                const Shape& shape, bool shared_x, bool own_biases, int activation, int number,
                bool tf32, float gain, float clamp, std::uintptr_t stream) {
    LinearActCudaParams params =
        checked(shape, shared_x, own_biases, activation, number, tf32, gain, clamp);
    params.out = cuda_data("out", out, params.number);
    params.x = cuda_data("x", x, params.number);
    params.weight = cuda_data("weight", weight, params.number);
    params.bias = optional_address("bias", bias);
    const py::gil_scoped_release release;
    linear_act_cuda(params, stream_of(stream));
}

void linear_act_backward(std::uintptr_t dx, std::uintptr_t dweight, std::uintptr_t dbias,
                         std::uintptr_t dz, std::uintptr_t partials, std::uintptr_t grad,
                         std::uintptr_t x, std::uintptr_t weight, std::uintptr_t bias,
                         std::uintptr_t saved, const Shape& shape, bool shared_x, bool own_biases,
                         int activation, int number, bool tf32, float gain, float clamp,
                         std::uintptr_t stream) {
    LinearActCudaBackwardParams params{};
    LinearActCudaParams& forward = params.forward;
    forward = checked(shape, shared_x, own_biases, activation, number, tf32, gain, clamp);
    forward.out = cuda_data("saved", saved, forward.number);
    forward.x = cuda_data("x", x, forward.number);
    forward.weight = cuda_data("weight", weight, forward.number);
    forward.bias = optional_address("bias", bias);
    const bool is_identity = forward.activation == Activation::linear && gain == 1 &&
                             clamp == std::numeric_limits<float>::infinity();
    params.grad = cuda_data("grad", grad, forward.number);
    params.dz = is_identity && !dz ? nullptr : cuda_data("dz", dz, forward.number);
    params.dx = cuda_data("dx", dx, forward.number);
    params.dweight = cuda_data("dweight", dweight, forward.number);
    params.dbias = address("dbias", dbias);
    params.partials = address("partials", partials);
    const py::gil_scoped_release release;
    linear_act_backward_cuda(params, stream_of(stream));
}

std::int64_t partials(const Shape& shape, bool own_biases, int number) {
    return linear_act_cuda_partials(checked(
        shape, false, own_biases, static_cast<int>(Activation::linear), number, false, 1.0f, 1.0f));
}

}  // namespace

void bind_cuda_linear_act(py::module_& m) {
    using namespace py::literals;
    m.def("linear_act_cuda", &linear_act, "out"_a, "x"_a, "weight"_a, "bias"_a, "shape"_a,
          "shared_x"_a, "own_biases"_a, "activation"_a, "number"_a, "tf32"_a, "gain"_a, "clamp"_a,
          "stream"_a);
    m.def("linear_act_cuda_partials", &partials, "shape"_a, "own_biases"_a, "number"_a);
    m.def("linear_act_backward_cuda", &linear_act_backward, "dx"_a, "dweight"_a, "dbias"_a, "dz"_a,
          "partials"_a, "grad"_a, "x"_a, "weight"_a, "bias"_a, "saved"_a, "shape"_a, "shared_x"_a,
          "own_biases"_a, "activation"_a, "number"_a, "tf32"_a, "gain"_a, "clamp"_a, "stream"_a);
}

}  // namespace digan_fast
