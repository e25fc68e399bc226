#include "bias_act_fields.h"
#include "runtime/scratch.h"

namespace digan_fast {
namespace {

void bias_act_backward(BiasActBackwardParams& params) {
    require_x(params);
    const std::int64_t count = bias_act_partials(params.outer, params.channels, params.inner);
    Scratch partials(count);
    params.partials = partials.data();
    bias_act_backward_cpu(params);
}

}  // namespace

void bind_bias_act(py::module_& m) {
    using Forward = BiasActParams;
    using Backward = BiasActBackwardParams;
    const auto check = [](const auto& params) {
        require_threads(params.threads);
        return check_bias_act(params, kCpuNumbers);
    };
    define<Forward, void>(
        m, "bias_act_cpu",
        bias_act_forward_fields() + Fields<Forward>{field("threads", &Forward::threads)}, check,
        bias_act_cpu);
    define<Backward, void>(m, "bias_act_backward_cpu",
                           bias_act_backward_fields() +
                               Fields<Backward>{field("threads", &Backward::threads),
                                                field("grad_expanded", &Backward::grad_expanded)},
                           check, bias_act_backward);
}

}  // namespace digan_fast
