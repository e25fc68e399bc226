#pragma once

// The Fourier features of pixels, sin θ and cos θ of θ = F·(x, y) + φ, as coord_linear takes them.

#include <cstdint>

#include "sincos.cuh"

namespace digan_fast::cuda {

// Those of a rectangle's pixels, row by row and frame by frame.
struct Features {
    const float* frequency;  // [B, K, 2]
    const float* phase;      // [B, T, K]
    const void* base;        // [B, T, base_height, base_width, columns], or null
    std::int64_t frames, sinusoids;
    std::int64_t side, top, left, height, width, base_height, base_width;
};

// 64-bit division takes about fifty instructions.
__device__ __forceinline__ std::int64_t divided(std::int64_t a, std::int64_t b) {
    if ((a | b) >> 32 == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
    return a / b;
}

// A pixel of the rectangle: x grows to the right, y upwards, both in [−1, 1) inside the picture.
struct Pixel {
    std::int64_t row, column;
    float x, y;

    __device__ __forceinline__ Pixel(const Features& features, std::int64_t pixel) {
        row = divided(pixel, features.width);
        column = pixel - row * features.width;
        const float scale = 2.0f / static_cast<float>(features.side);
        x = fmaf(static_cast<float>(features.left + column), scale, -1.0f);
        y = fmaf(static_cast<float>(features.side - 1 - features.top - row), scale, -1.0f);
    }

    // The pixel of the frame's base that it is upsampled from.
    __device__ __forceinline__ std::int64_t parent(const Features& features) const {
        return ((features.top & 1) + row) / 2 * features.base_width +
               ((features.left & 1) + column) / 2;
    }
};

// A frame's sinusoids from k.
struct Sinusoids {
    const float* frequency;
    const float* phase;

    __device__ __forceinline__ Sinusoids(const Features& features, std::int64_t frame,
                                         std::int64_t k) {
        frequency =
            features.frequency + (divided(frame, features.frames) * features.sinusoids + k) * 2;
        phase = features.phase + frame * features.sinusoids + k;
    }

    __device__ __forceinline__ void at(const Pixel& pixel, int e, float& sine,
                                       float& cosine) const {
        const float across = frequency[2 * e], up = frequency[2 * e + 1];
        sin_cos(fmaf(pixel.y, up, fmaf(pixel.x, across, phase[e])), sine, cosine);
    }
};

}  // namespace digan_fast::cuda
