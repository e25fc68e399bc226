#pragma once

#include "bindings.h"
#include "digan_fast/cuda_info.h"

namespace digan_fast {

// Everything that csrc/cuda has.
void bind_cuda(py::module_& m);

// One for each file cuda_<op>.cpp.
void bind_cuda_render(py::module_& m);

inline CudaStream stream_of(std::uintptr_t value) { return reinterpret_cast<CudaStream>(value); }

}  // namespace digan_fast
