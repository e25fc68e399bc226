#include "cuda/cuda.h"

namespace digan_fast {

void bind_cuda(py::module_& m) {
    py::options options;
    options.disable_function_signatures();  // the docstrings are the signatures
    bind_cuda_bias_act(m);
    bind_cuda_coord_linear(m);
    bind_cuda_coord_mlp(m);
    bind_cuda_fmm_weights(m);
    bind_cuda_linear_act(m);
    bind_cuda_render(m);
    bind_cuda_upfirdn2d(m);
}

}  // namespace digan_fast
