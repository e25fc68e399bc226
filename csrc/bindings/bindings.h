#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include "digan_fast/bias_act.h"

namespace digan_fast {

namespace py = pybind11;

// One for each op's file in this folder.
void bind_bias_act(py::module_& m);
void bind_conv3x3(py::module_& m);
void bind_coord_linear(py::module_& m);
void bind_coord_mlp(py::module_& m);
void bind_linear_act(py::module_& m);
void bind_peak(py::module_& m);
void bind_render(py::module_& m);
void bind_results(py::module_& m);
void bind_fmm_weights(py::module_& m);
void bind_upfirdn2d(py::module_& m);

inline void require(bool ok, const std::string& argument, const std::string& value,
                    const char* expected) {
    if (ok) return;
    throw py::value_error(argument + " is " + value + ", expected " + expected);
}

inline void require_extent(const char* argument, std::int64_t value) {
    require(value >= 0, argument, std::to_string(value), "0 or more");
}

struct Extent {
    const char* argument;
    std::int64_t value;
};

inline void require_extents(std::initializer_list<Extent> extents) {
    for (const Extent& each : extents) require_extent(each.argument, each.value);
}

inline void require_positive(std::initializer_list<Extent> extents) {
    for (const auto& [argument, value] : extents)
        require(value > 0, argument, std::to_string(value), "1 or more");
}

inline void require_threads(int threads) {
    require(threads >= 1, "threads", std::to_string(threads), "1 or more");
}

inline void require_clamp(float clamp) {
    require(clamp >= 0, "clamp", std::to_string(clamp), "0 or more, or infinity for none");
}

inline void require_activation(Activation activation, std::initializer_list<Activation> allowed) {
    for (const Activation each : allowed)
        if (each == activation) return;
    throw py::value_error("activation is " + std::to_string(static_cast<int>(activation)) +
                          ", which this op does not have");
}

inline void require_any_activation(Activation activation) {
    const int value = static_cast<int>(activation);
    require(value >= 0 && value < kActivations, "activation", std::to_string(value), "0 to 9");
}

constexpr int kCpuNumbers = 2;  // float32, bfloat16

// Refuses all but the first `allowed` types.
inline void require_number(Number number, int allowed, const char* argument = "number") {
    const int value = static_cast<int>(number);
    require(value >= 0 && value < allowed, argument, std::to_string(value),
            ("less than " + std::to_string(allowed)).c_str());
}

// Lets Ctrl-C interrupt long work that does not hold the interpreter.
inline void check_signals() {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// a · b for extents; refuses a product that overflows.
inline std::int64_t product(const char* argument, std::int64_t a, std::int64_t b) {
    require(a == 0 || b <= std::numeric_limits<std::int64_t>::max() / a, argument,
            std::to_string(b), "a tensor of less than 2^63 elements");
    return a * b;
}

// Refuses a tensor whose size in bytes, or that of a copy padded for vectors, overflows.
inline void require_tensor(const char* argument, std::initializer_list<std::int64_t> extents) {
    std::int64_t size = 4 * 64;  // bytes per element, times the most that padding adds
    for (const std::int64_t extent : extents) size = product(argument, size, extent);
}

// The limit for grid sides and positions: exact in double, and sums of a few of them fit.
constexpr std::int64_t kFarthest = std::int64_t{1} << 52;

// Refuses a rectangle that is empty or extends beyond kFarthest.
inline void require_rectangle(const char* argument, std::int64_t top, std::int64_t left,
                              std::int64_t height, std::int64_t width) {
    const std::string value = "(" + std::to_string(top) + ", " + std::to_string(left) + ", " +
                              std::to_string(height) + ", " + std::to_string(width) + ")";
    require(height > 0 && width > 0, argument, value, "a height and a width of 1 or more");
    for (const std::int64_t extent : {top, left, height, width})
        require(-kFarthest <= extent && extent <= kFarthest, argument, value, "within 2^52");
}

inline void require_side(std::int64_t side) {
    require(side > 0 && side <= kFarthest, "side", std::to_string(side), "1 to 2^52");
}

}  // namespace digan_fast
