#include "ops/bias_act.cuh"
#include "launch.h"

namespace digan_fast {
namespace {

using namespace cuda;

std::int64_t blocks_of(std::int64_t elements) {
    return (elements + kBiasActThreads - 1) / kBiasActThreads;
}

// Whether 16 bytes hold elements of one channel, or of neighbouring channels, in every place.
bool has_vectors(std::int64_t channels, std::int64_t inner, int vector) {
    return inner % vector == 0 || (inner == 1 && channels % vector == 0);
}

template <Number NUMBER>
void forward(const BiasActParams& p, CudaStream stream) {
    constexpr int VECTOR = Storage<NUMBER>::VECTOR;
    const std::int64_t elements = p.outer * p.channels * p.inner;
    if (has_vectors(p.channels, p.inner, VECTOR) && is_aligned(p.x) && is_aligned(p.out))
        launch("bias_act", bias_act_kernel<NUMBER, VECTOR>, blocks_of(elements / VECTOR),
               kBiasActThreads, 0, stream, p);
    else
        launch("bias_act", bias_act_kernel<NUMBER, 1>, blocks_of(elements), kBiasActThreads, 0,
               stream, p);
}

template <Number NUMBER>
void backward(const BiasActBackwardParams& p, CudaStream stream) {
    constexpr int VECTOR = Storage<NUMBER>::VECTOR;
    const char* op = "bias_act_backward";
    const std::int64_t elements = p.outer * p.channels * p.inner;
    const bool aligned =
        is_aligned(p.dx) && is_aligned(p.grad) && is_aligned(p.x) && is_aligned(p.out);
    if (has_vectors(p.channels, p.inner, VECTOR) && aligned)
        launch(op, bias_act_backward_kernel<NUMBER, VECTOR>, blocks_of(elements / VECTOR),
               kBiasActThreads, 0, stream, p);
    else
        launch(op, bias_act_backward_kernel<NUMBER, 1>, blocks_of(elements), kBiasActThreads, 0,
               stream, p);
    const std::int64_t groups = p.inner == 1 ? (p.channels + 31) / 32 : p.channels;
    const ChannelSumParams sums{p, bias_act_cuda_parts(p.outer, p.inner)};
    launch(op, sum_channels_kernel<NUMBER>, groups * sums.parts, kBiasActThreads,
           kBiasActThreads * 4, stream, sums);
    launch(op, sum_parts_kernel, blocks_of(p.channels), kBiasActThreads, 0, stream, sums);
}

}  // namespace

void bias_act_cuda(const BiasActParams& p, CudaStream stream) {
    switch (p.number) {
        case Number::float32:
            return forward<Number::float32>(p, stream);
        case Number::bfloat16:
            return forward<Number::bfloat16>(p, stream);
        case Number::float16:
            return forward<Number::float16>(p, stream);
    }
}

void bias_act_backward_cuda(const BiasActBackwardParams& p, CudaStream stream) {
    switch (p.number) {
        case Number::float32:
            return backward<Number::float32>(p, stream);
        case Number::bfloat16:
            return backward<Number::bfloat16>(p, stream);
        case Number::float16:
            return backward<Number::float16>(p, stream);
    }
}

}  // namespace digan_fast
