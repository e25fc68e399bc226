#include "coord_mlp_fields.h"

namespace digan_fast {
namespace {

bool check_coord_mlp(const CoordMlpParams& params) {
    require_threads(params.threads);
    return check_mlp_network(params);
}

bool check_coord_mlp_backward(const CoordMlpBackwardParams& params) {
    const bool computes = check_coord_mlp(params.forward);
    check_mlp_gradients(params);
    return computes;
}

}  // namespace

void bind_coord_mlp(py::module_& m) {
    using Params = CoordMlpParams;
    using Backward = CoordMlpBackwardParams;
    const Fields<Params> shared =
        mlp_network_fields() + Fields<Params>{field("threads", &Params::threads)};
    define<Params, void>(m, "coord_mlp_cpu", Fields<Params>{field("out", &Params::out)} + shared,
                         check_coord_mlp, [](Params& params) {
                             params.pause = check_signals;
                             coord_mlp_cpu(params);
                         });
    define<Backward, void>(m, "coord_mlp_backward_cpu",
                           within(&Backward::forward, shared) + mlp_gradient_fields(),
                           check_coord_mlp_backward, [](Backward& params) {
                               params.forward.pause = check_signals;
                               coord_mlp_backward_cpu(params);
                           });
}

}  // namespace digan_fast
