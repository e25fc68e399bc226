#include "cuda/cuda.h"
#include "fmm_weights_fields.h"

namespace digan_fast {
void bind_cuda_fmm_weights(py::module_& m) {
    using Forward = FmmWeightsParams;
    using Backward = FmmWeightsBackwardParams;
    const auto check = [](const auto& params) {
        require(params.inputs <= kFmmWeightsCudaInputs, "inputs", std::to_string(params.inputs),
                "4096 or fewer");
        return check_fmm_weights(params);
    };
    m.attr("FMM_WEIGHTS_CUDA_INPUTS") = kFmmWeightsCudaInputs;
    define_on_stream<Forward>(m, "fmm_weights_cuda", fmm_weights_forward_fields(), check,
                              fmm_weights_cuda);
    define_on_stream<Backward>(
        m, "fmm_weights_backward_cuda",
        fmm_weights_backward_fields() + Fields<Backward>{field("partials", &Backward::partials)},
        check, fmm_weights_backward_cuda);
}

}  // namespace digan_fast
