#pragma once

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// One of a picture's two axes.
struct UpfirdnAxis {
    std::int64_t size;  // of the input
    std::int64_t out;   // of the output
    std::int64_t taps;  // of the filter
    std::int64_t
        before;  // padding before the first sample, in samples after upsampling; may be negative
};

// out[n, c, Y, X] = Σ_ji filter[j, i] · u[n, c, Y·down + j, X·down + i], where u is x with up − 1
// zeros after each sample, then padded (negative: cropped). Contiguous [images, H, W,
// channels]; with one channel, planes [images, H, W].
struct Upfirdn2dParams {
    void* out;
    const void* x;
    const float* filter;  // [y.taps, x.taps], applied as a correlation
    std::int64_t images;
    std::int64_t channels;
    UpfirdnAxis vertical;
    UpfirdnAxis horizontal;
    std::int64_t up;
    std::int64_t down;
    Number number;  // of x and out
    int threads;
};

void upfirdn2d_cpu(const Upfirdn2dParams& params);
void upfirdn2d_cuda(const Upfirdn2dParams& params, CudaStream stream);

}  // namespace digan_fast
