#include "cuda.h"
#include "render_levels.h"

namespace digan_fast {
namespace {

using Window = std::array<std::int64_t, 4>;

RenderParams params_of(std::int64_t videos, std::int64_t frames, std::int64_t side,
                       const Window& window, const std::vector<LevelTuple>& levels, int precision) {
    require(precision >= 0 && precision <= 4, "precision", std::to_string(precision), "0 to 4");
    require(videos > 0 && frames > 0, "videos and frames", "0", "1 or more");
    return render_params(videos, frames, side, window, levels, precision);
}

std::string why_not(std::int64_t videos, std::int64_t frames, std::int64_t side,
                    const Window& window, const std::vector<LevelTuple>& levels, int precision) {
    return render_cuda_why_not(params_of(videos, frames, side, window, levels, precision));
}

std::int64_t workspace_bytes(std::int64_t videos, std::int64_t frames, std::int64_t side,
                             const Window& window, const std::vector<LevelTuple>& levels,
                             int precision) {
    return render_cuda_workspace(params_of(videos, frames, side, window, levels, precision));
}

void render(std::int64_t videos, std::int64_t frames, std::int64_t side, const Window& window,
            const std::vector<LevelTuple>& levels, int precision, std::uintptr_t out,
            std::uintptr_t workspace, std::uintptr_t stream) {
    RenderParams params = params_of(videos, frames, side, window, levels, precision);
    const std::string reason = render_cuda_why_not(params);
    if (!reason.empty()) throw py::value_error("render: " + reason);
    params.out = address("out", out);
    require(workspace % 16 == 0, "workspace", std::to_string(workspace), "a multiple of 16");
    const py::gil_scoped_release release;
    render_cuda(params, reinterpret_cast<void*>(workspace), stream_of(stream));
}

}  // namespace

void bind_cuda_render(py::module_& m) {
    using namespace py::literals;
    m.def("render_cuda_why_not", &why_not, "videos"_a, "frames"_a, "side"_a, "window"_a, "levels"_a,
          "precision"_a);
    m.def("render_cuda_workspace", &workspace_bytes, "videos"_a, "frames"_a, "side"_a, "window"_a,
          "levels"_a, "precision"_a);
    m.def("render_cuda", &render, "videos"_a, "frames"_a, "side"_a, "window"_a, "levels"_a,
          "precision"_a, "out"_a, "workspace"_a, "stream"_a);
}

}  // namespace digan_fast
