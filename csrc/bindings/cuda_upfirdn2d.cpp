#include "cuda.h"
#include "digan_fast/upfirdn2d.h"

namespace digan_fast {
namespace {

using Pair = std::array<std::int64_t, 2>;

void upfirdn2d(std::uintptr_t out, std::uintptr_t x, std::uintptr_t filter, std::int64_t images,
               std::int64_t channels, const Pair& size, const Pair& out_size, const Pair& taps,
               const Pair& before, std::int64_t up, std::int64_t down, int number,
               std::uintptr_t stream) {
    for (const std::int64_t extent :
         {images, channels, size[0], size[1], out_size[0], out_size[1], taps[0], taps[1], up, down})
        require(extent > 0, "extents", std::to_string(extent), "1 or more");
    require_tensor("x", {images, channels, size[0], size[1]});
    require_tensor("out", {images, channels, out_size[0], out_size[1]});
    for (const std::int64_t padding : before)
        require(-kFarthest <= padding && padding <= kFarthest, "before", std::to_string(padding),
                "within 2^52");
    const Number kind = number_of(number);
    const Upfirdn2dParams params{cuda_data("out", out, kind),
                                 cuda_data("x", x, kind),
                                 address("filter", filter),
                                 images,
                                 channels,
                                 {size[0], out_size[0], taps[0], before[0]},
                                 {size[1], out_size[1], taps[1], before[1]},
                                 up,
                                 down,
                                 kind,
                                 1};
    const py::gil_scoped_release release;
    upfirdn2d_cuda(params, stream_of(stream));
}

}  // namespace

void bind_cuda_upfirdn2d(py::module_& m) {
    using namespace py::literals;
    m.def("upfirdn2d_cuda", &upfirdn2d, "out"_a, "x"_a, "filter"_a, "images"_a, "channels"_a,
          "size"_a, "out_size"_a, "taps"_a, "before"_a, "up"_a, "down"_a, "number"_a, "stream"_a);
}

}  // namespace digan_fast
