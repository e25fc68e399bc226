#pragma once

#include "digan_fast/upfirdn2d.h"
#include "storage.cuh"

namespace digan_fast::cuda {

constexpr int kUpfirdnThreads = 256;

// The taps of an axis that meet a sample: tap + j·up for place (tap + position) / up.
struct Taps {
    std::int64_t first;     // tap
    std::int64_t position;  // of tap 0, in samples after upsampling

    __device__ __forceinline__ Taps(const UpfirdnAxis& axis, std::int64_t at, std::int64_t up,
                                    std::int64_t down) {
        position = at * down - axis.before;
        const std::int64_t rest = position % up;
        first = rest == 0 ? 0 : rest < 0 ? -rest : up - rest;
    }
};

// A thread makes one output, channels the fastest.
template <Number NUMBER>
__global__ void __launch_bounds__(kUpfirdnThreads)
    upfirdn2d_kernel(const __grid_constant__ Upfirdn2dParams p) {
    using Stored = Storage<NUMBER>;
    const UpfirdnAxis &v = p.vertical, &h = p.horizontal;
    const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kUpfirdnThreads + threadIdx.x;
    if (at >= p.images * v.out * h.out * p.channels) return;
    const std::int64_t channel = at % p.channels, column = at / p.channels % h.out;
    const std::int64_t row = at / p.channels / h.out % v.out;
    const std::int64_t image = at / p.channels / h.out / v.out;
    const Taps down(v, row, p.up, p.down), across(h, column, p.up, p.down);
    float total = 0.0f;
    for (std::int64_t i = down.first; i < v.taps; i += p.up) {
        const std::int64_t y = (down.position + i) / p.up;
        if (down.position + i < 0 || y >= v.size) continue;
        for (std::int64_t j = across.first; j < h.taps; j += p.up) {
            const std::int64_t x = (across.position + j) / p.up;
            if (across.position + j < 0 || x >= h.size) continue;
            const std::int64_t sample = ((image * v.size + y) * h.size + x) * p.channels + channel;
            total = fmaf(p.filter[i * h.taps + j], Stored::load(p.x, sample), total);
        }
    }
    Stored::store(p.out, at, total);
}

}  // namespace digan_fast::cuda
