#include "bias_act_fields.h"
#include "cuda/cuda.h"

namespace digan_fast {
void bind_cuda_bias_act(py::module_& m) {
    using Forward = BiasActParams;
    using Backward = BiasActBackwardParams;
    const auto check = [](const auto& params) { return check_bias_act(params, kCudaNumbers); };
    using namespace py::literals;
    define_on_stream<Forward>(m, "bias_act_cuda", bias_act_forward_fields(), check, bias_act_cuda);
    m.def("bias_act_cuda_parts", &bias_act_cuda_parts, "outer"_a, "inner"_a,
          "bias_act_cuda_parts(outer: int, inner: int) -> int");
    define_on_stream<Backward>(
        m, "bias_act_backward_cuda",
        bias_act_backward_fields() + Fields<Backward>{field("partials", &Backward::partials)},
        check, [](const Backward& params, CudaStream stream) {
            require_x(params);
            bias_act_backward_cuda(params, stream);
        });
}

}  // namespace digan_fast
