#include "render_fields.h"

namespace digan_fast {

void bind_render(py::module_& m) {
    using Params = RenderParams;
    define<Params, void>(
        m, "render_cpu",
        render_fields() +
            Fields<Params>{field("out", &Params::out), field("threads", &Params::threads)},
        [](const Params& params) {
            require_threads(params.threads);
            return check_render(params, kCpuPrecisions);
        },
        [](Params& params) {
            params.pause = check_signals;
            render_cpu(params);
        });
}

}  // namespace digan_fast
