#pragma once

// Sines and cosines of pixels as an operand of a product, made where others are copied.

#include "gemm/tile.cuh"

namespace digan_fast::cuda {

// 64-bit division takes about fifty instructions.
__device__ __forceinline__ std::int64_t divided(std::int64_t a, std::int64_t b) {
    if ((a | b) >> 32 == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
    return a / b;
}

// A pixel of the rectangle: x grows to the right, y upwards, both in [−1, 1) inside the picture.
struct Pixel {
    std::int64_t row, column;
    float x, y;

    __device__ __forceinline__ Pixel(const Waves& waves, std::int64_t pixel) {
        row = divided(pixel, waves.width);
        column = pixel - row * waves.width;
        const float scale = 2.0f / static_cast<float>(waves.side);
        x = fmaf(static_cast<float>(waves.left + column), scale, -1.0f);
        y = fmaf(static_cast<float>(waves.side - 1 - waves.top - row), scale, -1.0f);
    }

    // Of a frame's base, the one that the pixel was repeated from.
    __device__ __forceinline__ std::int64_t parent(const Waves& waves) const {
        return ((waves.top & 1) + row) / 2 * waves.base_width + ((waves.left & 1) + column) / 2;
    }
};

// A frame's sinusoids from k.
struct Sinusoids {
    const float* frequency;
    const float* phase;

    __device__ __forceinline__ Sinusoids(const Waves& waves, std::int64_t frame, std::int64_t k) {
        frequency = waves.frequency + (divided(frame, waves.frames) * waves.sinusoids + k) * 2;
        phase = waves.phase + frame * waves.sinusoids + k;
    }

    __device__ __forceinline__ void at(const Pixel& pixel, int e, float& sine,
                                       float& cosine) const {
        const float across = frequency[2 * e], up = frequency[2 * e + 1];
        sin_cos(fmaf(pixel.y, up, fmaf(pixel.x, across, phase[e])), sine, cosine);
    }
};

// A chunk of sines and one of their cosines, of sinusoids from k; zero past the last, and
// everywhere where there is no pixel.
template <class Tile>
__device__ __forceinline__ void make_chunks(const Waves& waves, const Pixel& pixel, bool exists,
                                            std::int64_t frame, int k, unsigned char* sines,
                                            unsigned char* cosines) {
    const Sinusoids sinusoids(waves, frame, k);
    float s[Tile::ELEMENTS], c[Tile::ELEMENTS];
#pragma unroll
    for (int e = 0; e < Tile::ELEMENTS; ++e) {
        s[e] = c[e] = 0.0f;
        if (exists && k + e < waves.sinusoids) sinusoids.at(pixel, e, s[e], c[e]);
    }
    if constexpr (Tile::HALF) {
        *reinterpret_cast<uint4*>(sines) = packed<typename Tile::Number>(s).whole;
        *reinterpret_cast<uint4*>(cosines) = packed<typename Tile::Number>(c).whole;
    } else {
        *reinterpret_cast<float4*>(sines) = {s[0], s[1], s[2], s[3]};
        *reinterpret_cast<float4*>(cosines) = {c[0], c[1], c[2], c[3]};
    }
}

// The waves of pixels, step by step. As a left operand rows are a frame's pixels, and terms the
// sines of some sinusoids and then their cosines; as a right one columns are the sines of some
// sinusoids and then their cosines, and terms the pixels of a video's frames. A thread has a pixel
// of a step and a chunk of its sines.
template <class Tile>
class WaveStream {
  public:
    // Pixels [pixel, end), counted from the first one of `frame`, and sinusoids from `k`.
    __device__ __forceinline__ WaveStream(const Waves& waves, bool is_left, std::int64_t frame,
                                          std::int64_t pixel, std::int64_t end, std::int64_t k)
        : waves_(waves), is_left_(is_left), frame_(frame) {
        pixel_ = pixel + outer();
        pixels_left_ = static_cast<int>(min(end - pixel_, std::int64_t{1} << 30));
        k_ = static_cast<int>(k) + chunk() * Tile::ELEMENTS;
    }

    __device__ __forceinline__ void issue(unsigned char* room) {
        const std::int64_t pixels = waves_.height * waves_.width, frame = divided(pixel_, pixels);
        make_chunks<Tile>(waves_, Pixel(waves_, pixel_ - frame * pixels), pixels_left_ > 0,
                          frame_ + frame, k_, Tile::chunk(room, !is_left_, outer(), chunk()),
                          Tile::chunk(room, !is_left_, outer(), chunk() + (is_left_ ? 2 : ACROSS)));
        if (is_left_) {
            k_ += 2 * Tile::ELEMENTS;
        } else {
            pixel_ += Tile::DEPTH;
            pixels_left_ -= Tile::DEPTH;
        }
    }

  private:
    static constexpr int ACROSS = Tile::EXTENT / 2 / Tile::ELEMENTS;  // chunks of sines

    __device__ __forceinline__ int outer() const {
        return is_left_ ? threadIdx.x % Tile::EXTENT : threadIdx.x / ACROSS;
    }
    __device__ __forceinline__ int chunk() const {
        return is_left_ ? threadIdx.x / Tile::EXTENT : threadIdx.x % ACROSS;
    }

    const Waves& waves_;
    bool is_left_;
    std::int64_t frame_, pixel_;
    int pixels_left_, k_;
};

}  // namespace digan_fast::cuda
