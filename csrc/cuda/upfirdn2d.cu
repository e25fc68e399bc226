#include "launch.h"
#include "upfirdn2d.cuh"

namespace digan_fast {
namespace {

template <Number NUMBER>
void run(const Upfirdn2dParams& p, CudaStream stream) {
    using namespace cuda;
    const std::int64_t elements = p.images * p.vertical.out * p.horizontal.out * p.channels;
    launch("upfirdn2d", upfirdn2d_kernel<NUMBER>,
           (elements + kUpfirdnThreads - 1) / kUpfirdnThreads, kUpfirdnThreads, 0, stream, p);
}

}  // namespace

void upfirdn2d_cuda(const Upfirdn2dParams& p, CudaStream stream) {
    switch (p.number) {
        case Number::float32:
            return run<Number::float32>(p, stream);
        case Number::bfloat16:
            return run<Number::bfloat16>(p, stream);
        case Number::float16:
            return run<Number::float16>(p, stream);
    }
}

}  // namespace digan_fast
