#pragma once

#include "dtype.cuh"
#include "ops/pointwise.cuh"

namespace digan_fast::cuda {

constexpr int kBiasActThreads = 256;

// The channel of an element of [outer, channels, inner].
__device__ __forceinline__ std::int64_t channel_of(std::int64_t at, std::int64_t channels,
                                                   std::int64_t inner) {
    // 64-bit division takes about fifty instructions.
    if (at <= 0xFFFFFFFF && inner <= 0xFFFFFFFF && channels <= 0xFFFFFFFF)
        return static_cast<uint32_t>(at) / static_cast<uint32_t>(inner) %
               static_cast<uint32_t>(channels);
    return at / inner % channels;
}

template <int Count>
__device__ __forceinline__ void load_biases(const float* bias, std::int64_t at,
                                            std::int64_t channels, std::int64_t inner,
                                            float (&biases)[Count]) {
    const std::int64_t channel = bias ? channel_of(at, channels, inner) : 0;
#pragma unroll
    for (int i = 0; i < Count; ++i) biases[i] = bias ? bias[inner == 1 ? channel + i : channel] : 0;
}

// Count neighbours, of which either all have one channel or each has its own.
template <class Dtype, int Count>
__global__ void __launch_bounds__(kBiasActThreads)
    bias_act_kernel(const __grid_constant__ BiasActParams p) {
    const std::int64_t at =
        (static_cast<std::int64_t>(blockIdx.x) * kBiasActThreads + threadIdx.x) * Count;
    if (at >= p.outer * p.channels * p.inner) return;
    float values[Count], biases[Count];
    load<Dtype>(p.x, at, values);
    load_biases(p.bias, at, p.channels, p.inner, biases);
#pragma unroll
    for (int i = 0; i < Count; ++i) {
        const float y = activated(values[i] + biases[i], p.activation, p.alpha) * p.gain;
        values[i] = clamped(y, p.clamp);
    }
    store<Dtype>(p.out, at, values);
}

template <class Dtype, int Count>
__global__ void __launch_bounds__(kBiasActThreads)
    bias_act_backward_kernel(const __grid_constant__ BiasActBackwardParams p) {
    const std::int64_t at =
        (static_cast<std::int64_t>(blockIdx.x) * kBiasActThreads + threadIdx.x) * Count;
    if (at >= p.outer * p.channels * p.inner) return;
    // The clamp rounded to the output's type.
    const float clamp = Dtype::widened(Dtype::narrowed(p.clamp));
    float grads[Count], outs[Count], places[Count] = {}, biases[Count] = {};
    load<Dtype>(p.grad, at, grads);
    load<Dtype>(p.out, at, outs);
    if (p.x) {
        load<Dtype>(p.x, at, places);
        load_biases(p.bias, at, p.channels, p.inner, biases);
    }
#pragma unroll
    for (int i = 0; i < Count; ++i) {
        const float z = p.x ? places[i] + biases[i] : outs[i];
        const float dx = grads[i] * derivative(z, p.activation, p.alpha) * p.gain;
        grads[i] = fabsf(outs[i]) < clamp ? dx : 0.0f;
    }
    store<Dtype>(p.dx, at, grads);
}

struct ChannelSumParams {
    BiasActBackwardParams backward;
    std::int64_t parts;
};

// partials[part, c] = Σ dx over the part's share of the other dimensions. A block sums 32 channels,
// with a warp for every eighth row, where channels are last; else one channel.
template <class Dtype>
__global__ void __launch_bounds__(kBiasActThreads)
    sum_channels_kernel(const __grid_constant__ ChannelSumParams params) {
    const BiasActBackwardParams& p = params.backward;
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    float* sums = reinterpret_cast<float*>(smem);  // [kBiasActThreads]
    const bool last = p.inner == 1;
    const std::int64_t groups = last ? (p.channels + 31) / 32 : p.channels;
    const std::int64_t group = blockIdx.x % groups, part = blockIdx.x / groups;
    const std::int64_t rows = p.outer * p.inner;
    const std::int64_t begin = rows * part / params.parts, end = rows * (part + 1) / params.parts;
    const int lanes = last ? 32 : 1;
    const std::int64_t channel = last ? group * 32 + threadIdx.x % 32 : group;
    float total = 0.0f;
    if (channel < p.channels) {
        for (std::int64_t row = begin + threadIdx.x / lanes; row < end;
             row += kBiasActThreads / lanes) {
            const std::int64_t outer = last ? row : row / p.inner;
            const std::int64_t inner = last ? 0 : row % p.inner;
            total += load<Dtype>(p.dx, (outer * p.channels + channel) * p.inner + inner);
        }
    }
    sums[threadIdx.x] = total;
    __syncthreads();
    for (int half = kBiasActThreads / 2; half >= lanes; half /= 2) {
        if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    if (static_cast<int>(threadIdx.x) < lanes && channel < p.channels)
        p.partials[part * p.channels + channel] = sums[threadIdx.x];
}

__global__ void __launch_bounds__(kBiasActThreads)
    sum_parts_kernel(const __grid_constant__ ChannelSumParams params) {
    const BiasActBackwardParams& p = params.backward;
    const std::int64_t channel =
        static_cast<std::int64_t>(blockIdx.x) * kBiasActThreads + threadIdx.x;
    if (channel >= p.channels) return;
    float total = 0.0f;
    for (std::int64_t part = 0; part < params.parts; ++part)
        total += p.partials[part * p.channels + channel];
    p.dbias[channel] = total;
}

}  // namespace digan_fast::cuda
