#include "launch.h"
#include "ops/bias_act.cuh"

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

template <class Dtype>
void forward(const BiasActParams& p, CudaStream stream) {
    constexpr int kVector = kVectorElements<Dtype>;
    const std::int64_t elements = p.outer * p.channels * p.inner;
    if (has_vectors(p.channels, p.inner, kVector) && is_aligned(p.x) && is_aligned(p.out))
        launch("bias_act", bias_act_kernel<Dtype, kVector>, blocks_of(elements / kVector),
               kBiasActThreads, 0, stream, p);
    else
        launch("bias_act", bias_act_kernel<Dtype, 1>, blocks_of(elements), kBiasActThreads, 0,
               stream, p);
}

template <class Dtype>
void backward(const BiasActBackwardParams& p, CudaStream stream) {
    constexpr int kVector = kVectorElements<Dtype>;
    const char* op = "bias_act_backward";
    const std::int64_t elements = p.outer * p.channels * p.inner;
    const bool aligned =
        is_aligned(p.dx) && is_aligned(p.grad) && is_aligned(p.x) && is_aligned(p.out);
    if (has_vectors(p.channels, p.inner, kVector) && aligned)
        launch(op, bias_act_backward_kernel<Dtype, kVector>, blocks_of(elements / kVector),
               kBiasActThreads, 0, stream, p);
    else
        launch(op, bias_act_backward_kernel<Dtype, 1>, blocks_of(elements), kBiasActThreads, 0,
               stream, p);
    const std::int64_t groups = p.inner == 1 ? (p.channels + 31) / 32 : p.channels;
    const ChannelSumParams sums{p, bias_act_cuda_parts(p.outer, p.inner)};
    launch(op, sum_channels_kernel<Dtype>, groups * sums.parts, kBiasActThreads,
           kBiasActThreads * 4, stream, sums);
    launch(op, sum_parts_kernel, blocks_of(p.channels), kBiasActThreads, 0, stream, sums);
}

}  // namespace

void bias_act_cuda(const BiasActParams& p, CudaStream stream) {
    with_dtype(p.number, [&](auto dtype) { forward<decltype(dtype)>(p, stream); });
}

void bias_act_backward_cuda(const BiasActBackwardParams& p, CudaStream stream) {
    with_dtype(p.number, [&](auto dtype) { backward<decltype(dtype)>(p, stream); });
}

}  // namespace digan_fast
