#pragma once

#include "digan_fast/cuda_info.h"
#include "fields.h"

namespace digan_fast {

// Binds everything in csrc/cuda.
void bind_cuda(py::module_& m);

// One for each op in this folder.
void bind_cuda_bias_act(py::module_& m);
void bind_cuda_coord_linear(py::module_& m);
void bind_cuda_coord_mlp(py::module_& m);
void bind_cuda_fmm_weights(py::module_& m);
void bind_cuda_linear_act(py::module_& m);
void bind_cuda_render(py::module_& m);
void bind_cuda_upfirdn2d(py::module_& m);

constexpr int kCudaNumbers = 3;  // those and float16

// Limits the terms of a product's sums, which a thread counts.
inline void require_cuda_terms(const char* argument, std::int64_t terms) {
    require(terms <= std::int64_t{1} << 30, argument, std::to_string(terms), "2^30 or fewer");
}

// `dz` is required unless the gradient by z is `grad` itself.
template <class Backward>
void require_dz(const Backward& params) {
    const auto& forward = params.forward;
    const bool is_identity = forward.activation == Activation::linear && forward.gain == 1 &&
                             forward.clamp == std::numeric_limits<float>::infinity();
    require(params.dz || is_identity, "dz", "null", "the address of data");
}

template <class Params>
struct OnStream {
    Params params;
    CudaStream stream;
};

// Like define, for a function that launches on the stream `stream`.
template <class Params>
void define_on_stream(py::module_& m, const char* name, const Fields<Params>& fields,
                      bool (*check)(const Params&), void (*run)(const Params&, CudaStream)) {
    using Call = OnStream<Params>;
    const auto stream = [](Call& call, py::handle value) {
        call.stream = reinterpret_cast<CudaStream>(from_python<std::uintptr_t>("stream", value));
    };
    define<Call, void>(
        m, name, within(&Call::params, fields) + Fields<Call>{{"stream", "int", false, stream}},
        [=](const Call& call) { return check(call.params); },
        [=](Call& call) { run(call.params, call.stream); });
}

}  // namespace digan_fast
