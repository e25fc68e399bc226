#include "digan_fast/upfirdn2d.h"

#include "bindings.h"

namespace digan_fast {
namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

// sizes, out, taps and padding: vertical, horizontal.
void upfirdn2d(std::uintptr_t out, std::uintptr_t x, std::uintptr_t filter, std::int64_t images,
               std::int64_t channels, Pair size, Pair out_size, Pair taps, Pair before,
               std::int64_t up, std::int64_t down, bool bfloat16, int threads) {
    require_extent("images", images);
    require_extent("channels", channels);
    require(up >= 1 && down >= 1, "up, down", std::to_string(up) + ", " + std::to_string(down),
            "1 or more");
    require(taps.first >= 1 && taps.second >= 1, "taps",
            std::to_string(taps.first) + ", " + std::to_string(taps.second), "1 or more");
    for (const Pair& extents : {size, out_size}) {
        require_extent("size", extents.first);
        require_extent("size", extents.second);
        product("size", product("size", product("size", images, channels), extents.first),
                extents.second);
    }
    require_threads(threads);
    if (images * channels * out_size.first * out_size.second == 0) return;
    const bool empty = size.first * size.second == 0;
    const Upfirdn2dParams params{data("out", out, bfloat16),
                                 empty ? nullptr : data("x", x, bfloat16),
                                 address("filter", filter),
                                 images,
                                 channels,
                                 {size.first, out_size.first, taps.first, before.first},
                                 {size.second, out_size.second, taps.second, before.second},
                                 up,
                                 down,
                                 bfloat16 ? Number::bfloat16 : Number::float32,
                                 threads};
    const py::gil_scoped_release release;
    upfirdn2d_cpu(params);
}

}  // namespace

void bind_upfirdn2d(py::module_& m) {
    using namespace py::literals;
    m.def("upfirdn2d_cpu", &upfirdn2d, "out"_a, "x"_a, "filter"_a, "images"_a, "channels"_a,
          "size"_a, "out_size"_a, "taps"_a, "before"_a, "up"_a, "down"_a, "bfloat16"_a,
          "threads"_a);
}

}  // namespace digan_fast
