#include "cuda/cuda.h"
#include "upfirdn2d_fields.h"

namespace digan_fast {

void bind_cuda_upfirdn2d(py::module_& m) {
    define_on_stream<Upfirdn2dParams>(
        m, "upfirdn2d_cuda", upfirdn2d_fields(),
        [](const Upfirdn2dParams& params) { return check_upfirdn2d(params, kCudaNumbers); },
        upfirdn2d_cuda);
}

}  // namespace digan_fast
