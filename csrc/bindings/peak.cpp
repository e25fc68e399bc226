#include "digan_fast/peak.h"

#include "bindings.h"
#include "digan_fast/cpu.h"

namespace digan_fast {
namespace {

constexpr const char* kNames[kInstructions] = {"fma", "vdpbf16ps", "vpdpbusd", "tdpbf16ps",
                                               "tdpbsud"};
constexpr double kLongest = 60;

Instruction instruction_of(const std::string& name) {
    for (int i = 0; i < kInstructions; ++i) {
        if (name == kNames[i]) return static_cast<Instruction>(i);
    }
    throw py::value_error("instruction is '" + name +
                          "', expected fma, vdpbf16ps, vpdpbusd, tdpbf16ps or tdpbsud");
}

double peak_rate(const std::string& instruction, int threads, double seconds) {
    double rate = 0;
    const PeakParams params{.rate = &rate,
                            .instruction = instruction_of(instruction),
                            .threads = threads,
                            .seconds = seconds};
    require_threads(threads);
    require(seconds > 0 && seconds <= kLongest, "seconds", std::to_string(seconds),
            "more than 0 and at most 60");
    {
        const py::gil_scoped_release release;
        peak_cpu(params);
    }
    if (rate == 0) {
        throw py::value_error("instruction is '" + instruction + "', which the instruction set " +
                              isa_name(selected_isa()) + " does not have");
    }
    return rate;
}

}  // namespace

void bind_peak(py::module_& m) {
    using namespace py::literals;
    m.def("peak_rate", &peak_rate, "instruction"_a, "threads"_a, "seconds"_a,
          "peak_rate(instruction: str, threads: int, seconds: float) -> float");
}

}  // namespace digan_fast
