#include "upfirdn2d_fields.h"

namespace digan_fast {

void bind_upfirdn2d(py::module_& m) {
    using Params = Upfirdn2dParams;
    define<Params, void>(
        m, "upfirdn2d_cpu", upfirdn2d_fields() + Fields<Params>{field("threads", &Params::threads)},
        [](const Params& params) {
            require_threads(params.threads);
            return check_upfirdn2d(params, kCpuNumbers);
        },
        upfirdn2d_cpu);
}

}  // namespace digan_fast
