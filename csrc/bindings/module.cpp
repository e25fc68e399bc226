#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "digan_fast/bias_act.h"
#include "digan_fast/cpu.h"
#include "digan_fast/cuda_info.h"

namespace py = pybind11;
using namespace digan_fast;

namespace {

void require(bool ok, const char* argument, const std::string& value, const char* expected) {
    if (ok) return;
    throw py::value_error(std::string(argument) + " is " + value + ", expected " + expected);
}

float* address(const char* argument, std::uintptr_t value) {
    require(value != 0, argument, "null", "the address of float32 data");
    require(value % sizeof(float) == 0, argument, std::to_string(value), "a multiple of 4");
    return reinterpret_cast<float*>(value);
}

std::int64_t product(const char* argument, std::int64_t a, std::int64_t b) {
    require(a == 0 || b <= std::numeric_limits<std::int64_t>::max() / a, argument,
            std::to_string(b), "a tensor of less than 2^63 elements");
    return a * b;
}

void bias_act(std::uintptr_t out, std::uintptr_t x, std::uintptr_t bias, std::int64_t outer,
              std::int64_t channels, std::int64_t inner, int activation, float alpha, float gain,
              float clamp, int threads) {
    require(outer >= 0, "outer", std::to_string(outer), "0 or more");
    require(channels >= 0, "channels", std::to_string(channels), "0 or more");
    require(inner >= 0, "inner", std::to_string(inner), "0 or more");
    require(activation >= 0 && activation < kActivations, "activation", std::to_string(activation),
            "0 to 8");
    require(clamp >= 0, "clamp", std::to_string(clamp), "0 or more, or infinity for none");
    require(threads >= 1, "threads", std::to_string(threads), "1 or more");
    if (product("inner", product("channels", outer, channels), inner) == 0) return;
    const BiasActParams params{address("out", out),
                               address("x", x),
                               bias ? address("bias", bias) : nullptr,
                               outer,
                               channels,
                               inner,
                               static_cast<Activation>(activation),
                               alpha,
                               gain,
                               clamp,
                               threads};
    const py::gil_scoped_release release;
    bias_act_cpu(params);
}

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

py::dict cuda_information() {
#if DIGAN_FAST_CUDA
    const CudaInfo cuda = cuda_info();
#else
    const CudaInfo cuda{0, 0, 0, "built without CUDA"};
#endif
    py::dict info;
    info["devices"] = cuda.devices;
    info["runtime_version"] = cuda.runtime_version;
    info["driver_version"] = cuda.driver_version;
    info["reason"] = cuda.reason;
    return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    selected_isa();  // a bad DIGAN_FAST_ISA fails the import, not the first call

    m.def("build_info", &build_info);
    m.def("cpu_features", &cpu_features);
    m.def("isa", [] { return isa_name(selected_isa()); });
    m.def("cuda_info", &cuda_information);

    using namespace py::literals;
    m.def("bias_act_cpu", &bias_act, "out"_a, "x"_a, "bias"_a, "outer"_a, "channels"_a, "inner"_a,
          "activation"_a, "alpha"_a, "gain"_a, "clamp"_a, "threads"_a);
}
