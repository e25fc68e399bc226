#include "fmm_weights_fields.h"
#include "runtime/scratch.h"

namespace digan_fast {
namespace {

void fmm_weights_backward(FmmWeightsBackwardParams& params) {
    const std::int64_t parts = fmm_weights_parts(params.outputs);
    Scratch partials;
    if (parts > 1) partials.reserve(parts * params.batch * params.rank * params.inputs);
    params.partials = partials.data();
    fmm_weights_backward_cpu(params);
}

}  // namespace

void bind_fmm_weights(py::module_& m) {
    using Forward = FmmWeightsParams;
    using Backward = FmmWeightsBackwardParams;
    const auto check = [](const auto& params) {
        require_threads(params.threads);
        return check_fmm_weights(params);
    };
    define<Forward, void>(
        m, "fmm_weights_cpu",
        fmm_weights_forward_fields() + Fields<Forward>{field("threads", &Forward::threads)}, check,
        fmm_weights_cpu);
    define<Backward, void>(m, "fmm_weights_backward_cpu",
                           fmm_weights_backward_fields() +
                               Fields<Backward>{field("threads", &Backward::threads),
                                                field("grad_expanded", &Backward::grad_expanded)},
                           check, fmm_weights_backward);
}

}  // namespace digan_fast
