#include "digan_fast/render.h"

#include "render_levels.h"

namespace digan_fast {
namespace {

void render(std::uintptr_t out, std::int64_t videos, std::int64_t frames, std::int64_t side,
            const std::array<std::int64_t, 4>& window, const std::vector<LevelTuple>& levels,
            int precision, int threads) {
    require(precision >= 0 && precision <= 2, "precision", std::to_string(precision), "0, 1 or 2");
    require_threads(threads);
    RenderParams params = render_params(videos, frames, side, window, levels, precision);
    if (videos == 0 || frames == 0) return;
    params.out = address("out", out);
    params.threads = threads;
    params.pause = check_signals;
    const py::gil_scoped_release release;
    render_cpu(params);
}

}  // namespace

void bind_render(py::module_& m) {
    using namespace py::literals;
    m.def("render_cpu", &render, "out"_a, "videos"_a, "frames"_a, "side"_a, "window"_a, "levels"_a,
          "precision"_a, "threads"_a);
}

}  // namespace digan_fast
