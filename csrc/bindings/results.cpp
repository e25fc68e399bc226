// The memory of large results as tensors, through DLPack (github.com/dmlc/dlpack, version 0.8).

#include <memory>
#include <vector>

#include "bindings.h"
#include "runtime/result_pages.h"

namespace digan_fast {
namespace {

struct DLTensor {
    void* data;
    std::int32_t device_type, device_id;
    std::int32_t ndim;
    std::uint8_t type_code, type_bits;
    std::uint16_t type_lanes;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements
    std::uint64_t byte_offset;
};

struct DLManagedTensor {
    DLTensor tensor;
    void* context;
    void (*deleter)(DLManagedTensor*);
};

constexpr std::int32_t kCpu = 1;
constexpr std::uint8_t kFloat = 2, kBfloat = 4;

struct Result {
    DLManagedTensor managed{};
    std::vector<std::int64_t> shape, strides;
    std::int64_t bytes = 0;

    ~Result() {
        if (managed.tensor.data) give_pages(managed.tensor.data, bytes);
    }
};

void free_result(DLManagedTensor* managed) { delete static_cast<Result*>(managed->context); }

// Frees a capsule that no tensor consumed.
void free_capsule(PyObject* capsule) {
    if (PyCapsule_IsValid(capsule, "dltensor"))
        free_result(static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor")));
}

py::capsule result(std::vector<std::int64_t> shape, std::vector<std::int64_t> strides,
                   bool bfloat16) {
    auto result = std::make_unique<Result>();
    std::int64_t elements = 1;
    for (const std::int64_t extent : shape) elements *= extent;
    require(elements > 0, "shape", "of " + std::to_string(elements) + " elements", "1 or more");
    result->bytes = elements * (bfloat16 ? 2 : 4);
    result->shape = std::move(shape);
    result->strides = std::move(strides);
    const std::uint8_t code = bfloat16 ? kBfloat : kFloat, bits = bfloat16 ? 16 : 32;
    result->managed = {.tensor = {.data = take_pages(result->bytes),
                                  .device_type = kCpu,
                                  .device_id = 0,
                                  .ndim = static_cast<std::int32_t>(result->shape.size()),
                                  .type_code = code,
                                  .type_bits = bits,
                                  .type_lanes = 1,
                                  .shape = result->shape.data(),
                                  .strides = result->strides.data(),
                                  .byte_offset = 0},
                       .context = result.get(),
                       .deleter = free_result};
    return py::capsule(&result.release()->managed, "dltensor", free_capsule);
}

}  // namespace

void bind_results(py::module_& m) {
    using namespace py::literals;
    m.def("result", &result, "shape"_a, "strides"_a, "bfloat16"_a,
          "result(shape: Sequence[int], strides: Sequence[int], bfloat16: bool) -> CapsuleType");
    m.def("keep_freed_results", &keep_pages, "keep"_a, "keep_freed_results(keep: bool) -> None");
}

}  // namespace digan_fast
