#include <algorithm>

#include "launch.h"
#include "ops/upfirdn2d.cuh"

namespace digan_fast {
namespace {

// Whether threads of strips, rows and columns can be counted in 31 bits.
bool is_small(const Upfirdn2dParams& p) {
    using namespace cuda;
    constexpr std::int64_t kMost = std::int64_t{1} << 30;
    const std::int64_t strips = (p.vertical.out + kStripRows - 1) / kStripRows;
    for (const UpfirdnAxis* axis : {&p.vertical, &p.horizontal})
        if (axis->taps > kStripTaps || axis->size > kMost || axis->out > kMost / 4 ||
            axis->before > kMost || axis->before < -kMost)
            return false;
    return p.horizontal.out * p.channels <= kMost &&
           p.images * strips <= kMost / std::max<std::int64_t>(1, p.horizontal.out * p.channels);
}

template <class Dtype, int Up, int Down>
void run_strips(const Upfirdn2dParams& p, CudaStream stream) {
    using namespace cuda;
    const std::int64_t strips = (p.vertical.out + kStripRows - 1) / kStripRows;
    const std::int64_t threads = p.images * strips * p.horizontal.out * p.channels;
    launch("upfirdn2d", upfirdn2d_strip_kernel<Dtype, Up, Down>,
           (threads + kUpfirdnThreads - 1) / kUpfirdnThreads, kUpfirdnThreads, 0, stream, p);
}

template <class Dtype>
void run(const Upfirdn2dParams& p, CudaStream stream) {
    using namespace cuda;
    if (is_small(p)) {
        if (p.up == 1 && p.down == 1) return run_strips<Dtype, 1, 1>(p, stream);
        if (p.up == 1 && p.down == 2) return run_strips<Dtype, 1, 2>(p, stream);
        if (p.up == 2 && p.down == 1) return run_strips<Dtype, 2, 1>(p, stream);
    }
    const std::int64_t elements = p.images * p.vertical.out * p.horizontal.out * p.channels;
    launch("upfirdn2d", upfirdn2d_kernel<Dtype>, (elements + kUpfirdnThreads - 1) / kUpfirdnThreads,
           kUpfirdnThreads, 0, stream, p);
}

}  // namespace

void upfirdn2d_cuda(const Upfirdn2dParams& p, CudaStream stream) {
    using namespace cuda;
    with_dtype(p.number, [&](auto dtype) { run<decltype(dtype)>(p, stream); });
}

}  // namespace digan_fast
