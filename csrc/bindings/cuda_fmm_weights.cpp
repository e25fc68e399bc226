#include <algorithm>

#include "cuda.h"
#include "digan_fast/fmm_weights.h"

namespace digan_fast {
namespace {

// batch, outputs, inputs, rank
using Shape = std::array<std::int64_t, 4>;

Modulation checked(const Shape& shape, int modulation) {
    for (const std::int64_t extent : shape)
        require(extent > 0, "shape", std::to_string(extent), "extents of 1 or more");
    const auto [batch, outputs, inputs, rank] = shape;
    require(inputs <= kFmmWeightsCudaInputs, "inputs", std::to_string(inputs), "4096 or fewer");
    require_tensor("shape", {batch, outputs, inputs});
    require_tensor("shape", {batch, std::max(outputs, inputs), rank});
    require(modulation >= 0 && modulation < kModulations, "modulation", std::to_string(modulation),
            "0 to 3");
    return static_cast<Modulation>(modulation);
}

void fmm_weights(std::uintptr_t out, std::uintptr_t weight, std::uintptr_t left,
                 std::uintptr_t right, const Shape& shape, int modulation, float scale,
                 std::uintptr_t stream) {
    const Modulation kind = checked(shape, modulation);
    const FmmWeightsParams params{address("out", out),
                                  address("weight", weight),
                                  address("left", left),
                                  address("right", right),
                                  shape[0],
                                  shape[1],
                                  shape[2],
                                  shape[3],
                                  kind,
                                  scale,
                                  1};
    const py::gil_scoped_release release;
    fmm_weights_cuda(params, stream_of(stream));
}

void fmm_weights_backward(std::uintptr_t dweight, std::uintptr_t dleft, std::uintptr_t dright,
                          std::uintptr_t partials, std::uintptr_t grad, std::uintptr_t weight,
                          std::uintptr_t left, std::uintptr_t right, const Shape& shape,
                          int modulation, float scale, std::uintptr_t stream) {
    const Modulation kind = checked(shape, modulation);
    const FmmWeightsBackwardParams params{address("dweight", dweight),
                                          address("dleft", dleft),
                                          address("dright", dright),
                                          address("partials", partials),
                                          address("grad", grad),
                                          address("weight", weight),
                                          address("left", left),
                                          address("right", right),
                                          shape[0],
                                          shape[1],
                                          shape[2],
                                          shape[3],
                                          kind,
                                          false,
                                          scale,
                                          1};
    const py::gil_scoped_release release;
    fmm_weights_backward_cuda(params, stream_of(stream));
}

}  // namespace

void bind_cuda_fmm_weights(py::module_& m) {
    using namespace py::literals;
    m.attr("FMM_WEIGHTS_CUDA_INPUTS") = kFmmWeightsCudaInputs;
    m.def("fmm_weights_cuda", &fmm_weights, "out"_a, "weight"_a, "left"_a, "right"_a, "shape"_a,
          "modulation"_a, "scale"_a, "stream"_a);
    m.def("fmm_weights_backward_cuda", &fmm_weights_backward, "dweight"_a, "dleft"_a, "dright"_a,
          "partials"_a, "grad"_a, "weight"_a, "left"_a, "right"_a, "shape"_a, "modulation"_a,
          "scale"_a, "stream"_a);
}

}  // namespace digan_fast
