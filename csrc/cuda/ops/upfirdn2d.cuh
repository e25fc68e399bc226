#pragma once

#include "digan_fast/upfirdn2d.h"
#include "dtype.cuh"

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

// Filters of at most kStripTaps taps an axis: a thread makes a strip of kStripRows outputs of one
// column; neighbouring threads have neighbouring channels and columns. Terms are added in the order
// of the taps.
constexpr int kStripRows = 8, kStripTaps = 4;

template <class Dtype, int Up, int Down>
__global__ void __launch_bounds__(kUpfirdnThreads)
    upfirdn2d_strip_kernel(const __grid_constant__ Upfirdn2dParams p) {
    static_assert(Up == 1 || (Up == 2 && Down == 1));
    constexpr int kTaps = kStripTaps / Up;  // that meet samples
    const int height = static_cast<int>(p.vertical.size),
              width = static_cast<int>(p.horizontal.size);
    const int channels = static_cast<int>(p.channels);
    const unsigned across = static_cast<unsigned>(p.horizontal.out * p.channels);
    const unsigned down = static_cast<unsigned>((p.vertical.out + kStripRows - 1) / kStripRows);
    const unsigned thread = blockIdx.x * kUpfirdnThreads + threadIdx.x;
    const unsigned within = thread % across, strip = thread / across % down;
    const std::int64_t image = thread / across / down;
    if (image >= p.images) return;
    const int column = static_cast<int>(within) / channels,
              channel = static_cast<int>(within) % channels;
    const int row = static_cast<int>(strip) * kStripRows;
    // Places of tap 0, in samples after upsampling; of the taps each Up-th from `first` meets one.
    const int left = column * Down - static_cast<int>(p.horizontal.before);
    const int top = row * Down - static_cast<int>(p.vertical.before);
    const int first = Up == 2 ? left & 1 : 0;
    float filter[kStripTaps][kTaps];
#pragma unroll
    for (int i = 0; i < kStripTaps; ++i)
#pragma unroll
        for (int j = 0; j < kTaps; ++j) {
            const int tap = first + Up * j;
            const bool exists = i < p.vertical.taps && tap < p.horizontal.taps;
            filter[i][j] = exists ? p.filter[i * p.horizontal.taps + tap] : 0.0f;
        }
    const int begin = Up == 2 ? (left + first) >> 1 : left;
    const std::int64_t start = image * height * width * channels + channel;
    const auto sample = [&](int y, int j) {
        const int x = begin + j;
        const bool exists = y >= 0 && y < height && x >= 0 && x < width;
        const std::int64_t at = start + (static_cast<std::int64_t>(y) * width + x) * channels;
        return exists ? load<Dtype>(p.x, at) : 0.0f;
    };
    float sums[kStripRows] = {};
    if constexpr (Up == 1) {
#pragma unroll
        for (int k = 0; k < (kStripRows - 1) * Down + kStripTaps; ++k) {
            float samples[kTaps];
#pragma unroll
            for (int j = 0; j < kTaps; ++j) samples[j] = sample(top + k, j);
#pragma unroll
            for (int r = 0; r < kStripRows; ++r) {
                const int i = k - r * Down;
                if (i < 0 || i >= kStripTaps) continue;
#pragma unroll
                for (int j = 0; j < kTaps; ++j) sums[r] = fmaf(filter[i][j], samples[j], sums[r]);
            }
        }
    } else {
#pragma unroll
        for (int r = 0; r < kStripRows; ++r) {
            const bool odd = (top + r) & 1;
            const int y = (top + r + odd) >> 1;
#pragma unroll
            for (int i = 0; i < kTaps; ++i)
#pragma unroll
                for (int j = 0; j < kTaps; ++j)
                    sums[r] = fmaf(odd ? filter[2 * i + 1][j] : filter[2 * i][j], sample(y + i, j),
                                   sums[r]);
        }
    }
    const std::int64_t rows = p.vertical.out;
#pragma unroll
    for (int r = 0; r < kStripRows; ++r)
        if (row + r < rows)
            store<Dtype>(p.out, (image * rows + row + r) * across + within, sums[r]);
}

// A thread makes one output; channels vary fastest.
template <class Dtype>
__global__ void __launch_bounds__(kUpfirdnThreads)
    upfirdn2d_kernel(const __grid_constant__ Upfirdn2dParams p) {
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
            total = fmaf(p.filter[i * h.taps + j], load<Dtype>(p.x, sample), total);
        }
    }
    store<Dtype>(p.out, at, total);
}

}  // namespace digan_fast::cuda
