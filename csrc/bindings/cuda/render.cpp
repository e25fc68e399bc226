#include "cuda/cuda.h"
#include "render_fields.h"

namespace digan_fast {
namespace {

struct Rendering {
    RenderParams params;
    void* workspace;
};

bool check_cuda_render(const RenderParams& params) {
    require_positive({{"videos", params.videos}, {"frames", params.frames}});
    return check_render(params, kCudaPrecisions);
}

void render(const Rendering& call, CudaStream stream) {
    const std::string reason = render_cuda_why_not(call.params);
    if (!reason.empty()) throw py::value_error("render: " + reason);
    render_cuda(call.params, call.workspace, stream);
}

void fill_workspace(Rendering& call, py::handle value) {
    const auto address = from_python<std::uintptr_t>("workspace", value);
    require(address % 16 == 0, "workspace", std::to_string(address), "a multiple of 16");
    call.workspace = reinterpret_cast<void*>(address);
}

}  // namespace

void bind_cuda_render(py::module_& m) {
    define<RenderParams, std::string>(m, "render_cuda_why_not", render_fields(), check_cuda_render,
                                      render_cuda_why_not);
    define<RenderParams, std::int64_t>(m, "render_cuda_workspace", render_fields(),
                                       check_cuda_render, render_cuda_workspace);
    define_on_stream<Rendering>(
        m, "render_cuda",
        within(&Rendering::params,
               render_fields() + Fields<RenderParams>{field("out", &RenderParams::out)}) +
            Fields<Rendering>{{"workspace", "int", true, fill_workspace}},
        [](const Rendering& call) { return check_cuda_render(call.params); }, render);
}

}  // namespace digan_fast
