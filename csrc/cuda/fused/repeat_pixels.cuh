#pragma once

#include "fused/params.h"

namespace digan_fast::cuda {

// The picture's window from the finest grid's area, each of its pixels `factor` times each way.
struct RepeatParams {
    float* out;          // [planes, window.height, window.width]
    const float* image;  // [planes, area.height, area.width]
    Area window, area;
    int factor;
    std::int64_t elements;  // of out
};

__device__ __forceinline__ int floor_divide(int a, int b) { return a / b - (a % b < 0); }

__global__ void repeat_pixels(const __grid_constant__ RepeatParams p) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= p.elements) return;
    const int x = static_cast<int>(i % p.window.width);
    const int y = static_cast<int>(i / p.window.width % p.window.height);
    const std::int64_t plane = i / p.window.width / p.window.height;
    const int row = floor_divide(p.window.top + y, p.factor) - p.area.top;
    const int column = floor_divide(p.window.left + x, p.factor) - p.area.left;
    p.out[i] = p.image[(plane * p.area.height + row) * p.area.width + column];
}

}  // namespace digan_fast::cuda
