#include "cuda/cuda.h"
#include "digan_fast/cpu.h"
#include "digan_fast/cuda_info.h"
#include "runtime/threads.h"

namespace digan_fast {
namespace {

py::dict build_info() {
    py::list isas;
    for (Isa isa : built_isas()) isas.append(isa_name(isa));
    py::dict info;
    info["compiler"] = DIGAN_FAST_COMPILER;
    info["openmp"] = static_cast<bool>(DIGAN_FAST_OPENMP);
    info["isas"] = isas;
    info["cuda"] = static_cast<bool>(DIGAN_FAST_CUDA);
    info["cuda_archs"] = py::str(DIGAN_FAST_CUDA_ARCHS).attr("split")();
    return info;
}

// For each instruction set that was built and cannot run here, what is missing.
py::dict missing_features() {
    py::dict missing;
    for (Isa isa : built_isas()) {
        const std::string features = isa_lacks(isa);
        if (!features.empty()) missing[isa_name(isa)] = features;
    }
    return missing;
}

py::dict cuda_information() {
#if DIGAN_FAST_CUDA
    const CudaInfo cuda = cuda_info();
#else
    const CudaInfo cuda{
        .devices = 0, .runtime_version = 0, .driver_version = 0, .reason = "built without CUDA"};
#endif
    py::dict info;
    info["devices"] = cuda.devices;
    info["runtime_version"] = cuda.runtime_version;
    info["driver_version"] = cuda.driver_version;
    info["reason"] = cuda.reason;
    return info;
}

}  // namespace
}  // namespace digan_fast

PYBIND11_MODULE(_C, m) {
    using namespace digan_fast;
    selected_isa();    // a bad DIGAN_FAST_ISA fails the import, not the first call
    threads_usable();  // from here on forks are detected

    // Docstrings are the signatures that _C.pyi is generated from (tests/support/stubs.py).
    py::options options;
    options.disable_function_signatures();
    m.def("build_info", &build_info, "build_info() -> dict[str, Any]");
    m.def("cpu_features", &cpu_features, "cpu_features() -> list[str]");
    m.def("missing_features", &missing_features, "missing_features() -> dict[str, str]");
    m.def("bfloat16_unit", &bfloat16_unit, "bfloat16_unit() -> str");
    m.def("isa", [] { return isa_name(selected_isa()); }, "isa() -> str");
    m.def("cuda_info", &cuda_information, "cuda_info() -> dict[str, Any]");
    bind_bias_act(m);
    bind_conv3x3(m);
    bind_coord_linear(m);
    bind_coord_mlp(m);
    bind_linear_act(m);
    bind_peak(m);
    bind_render(m);
    bind_results(m);
    bind_fmm_weights(m);
    bind_upfirdn2d(m);
#if DIGAN_FAST_CUDA
    bind_cuda(m);
#endif
}
