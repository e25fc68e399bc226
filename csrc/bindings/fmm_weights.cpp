#include "digan_fast/fmm_weights.h"

#include <memory>

#include "bindings.h"

namespace digan_fast {
namespace {

struct Extents {
    std::int64_t batch, outputs, inputs, rank;
};

void check(const Extents& e, int modulation, int threads) {
    require_extent("batch", e.batch);
    require_extent("outputs", e.outputs);
    require_extent("inputs", e.inputs);
    require(e.rank >= 1, "rank", std::to_string(e.rank), "1 or more");
    require(modulation >= 0 && modulation < kModulations, "modulation", std::to_string(modulation),
            "0 to 3");
    require_threads(threads);
    product("inputs", product("outputs", e.batch, e.outputs), e.inputs);
    product("inputs", product("rank", product("outputs", e.batch, 16), e.rank), e.inputs);
}

// Null where the tensor has no elements.
float* unless_empty(const char* argument, std::uintptr_t value, std::int64_t a, std::int64_t b) {
    return a == 0 || b == 0 ? nullptr : address(argument, value);
}

void fmm_weights(std::uintptr_t out, std::uintptr_t weight, std::uintptr_t left,
                 std::uintptr_t right, std::int64_t batch, std::int64_t outputs,
                 std::int64_t inputs, std::int64_t rank, int modulation, float scale, int threads) {
    check({batch, outputs, inputs, rank}, modulation, threads);
    if (batch * outputs * inputs == 0) return;
    const FmmWeightsParams params{address("out", out),
                                  address("weight", weight),
                                  address("left", left),
                                  address("right", right),
                                  batch,
                                  outputs,
                                  inputs,
                                  rank,
                                  static_cast<Modulation>(modulation),
                                  scale,
                                  threads};
    const py::gil_scoped_release release;
    fmm_weights_cpu(params);
}

void fmm_weights_backward(std::uintptr_t dweight, std::uintptr_t dleft, std::uintptr_t dright,
                          std::uintptr_t grad, std::uintptr_t weight, std::uintptr_t left,
                          std::uintptr_t right, std::int64_t batch, std::int64_t outputs,
                          std::int64_t inputs, std::int64_t rank, int modulation,
                          bool grad_expanded, float scale, int threads) {
    check({batch, outputs, inputs, rank}, modulation, threads);
    const std::int64_t chunks = fmm_weights_chunks(outputs);
    std::unique_ptr<float[]> partials;
    if (chunks > 1) partials.reset(new float[chunks * batch * rank * inputs]);
    const FmmWeightsBackwardParams params{unless_empty("dweight", dweight, outputs, inputs),
                                          unless_empty("dleft", dleft, batch, outputs),
                                          unless_empty("dright", dright, batch, inputs),
                                          partials.get(),
                                          unless_empty("grad", grad, batch * outputs, inputs),
                                          unless_empty("weight", weight, outputs, inputs),
                                          unless_empty("left", left, batch, outputs),
                                          unless_empty("right", right, batch, inputs),
                                          batch,
                                          outputs,
                                          inputs,
                                          rank,
                                          static_cast<Modulation>(modulation),
                                          grad_expanded,
                                          scale,
                                          threads};
    const py::gil_scoped_release release;
    fmm_weights_backward_cpu(params);
}

}  // namespace

void bind_fmm_weights(py::module_& m) {
    using namespace py::literals;
    m.def("fmm_weights_cpu", &fmm_weights, "out"_a, "weight"_a, "left"_a, "right"_a, "batch"_a,
          "outputs"_a, "inputs"_a, "rank"_a, "modulation"_a, "scale"_a, "threads"_a);
    m.def("fmm_weights_backward_cpu", &fmm_weights_backward, "dweight"_a, "dleft"_a, "dright"_a,
          "grad"_a, "weight"_a, "left"_a, "right"_a, "batch"_a, "outputs"_a, "inputs"_a, "rank"_a,
          "modulation"_a, "grad_expanded"_a, "scale"_a, "threads"_a);
}

}  // namespace digan_fast
