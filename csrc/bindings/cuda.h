#pragma once

#include "bindings.h"
#include "digan_fast/cuda_info.h"

namespace digan_fast {

// Everything that csrc/cuda has.
void bind_cuda(py::module_& m);

// One for each file cuda_<op>.cpp.
void bind_cuda_bias_act(py::module_& m);
void bind_cuda_coord_linear(py::module_& m);
void bind_cuda_fmm_weights(py::module_& m);
void bind_cuda_linear_act(py::module_& m);
void bind_cuda_render(py::module_& m);
void bind_cuda_upfirdn2d(py::module_& m);

// Of a product's sums, which a thread counts.
constexpr std::int64_t kMostCudaTerms = std::int64_t{1} << 30;

inline Number number_of(int value) {
    require(value >= 0 && value <= 2, "number", std::to_string(value), "0, 1 or 2");
    return static_cast<Number>(value);
}

// Data of that number.
inline void* cuda_data(const char* argument, std::uintptr_t value, Number number) {
    return data(argument, value, number != Number::float32);
}

inline CudaStream stream_of(std::uintptr_t value) { return reinterpret_cast<CudaStream>(value); }

}  // namespace digan_fast
