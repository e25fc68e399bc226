#include "cuda.h"

namespace digan_fast {

void bind_cuda(py::module_& m) { bind_cuda_render(m); }

}  // namespace digan_fast
