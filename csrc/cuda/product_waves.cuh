#pragma once

// Sines and cosines of pixels as an operand of a product, made where others are copied.

#include "product_tile.cuh"

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

__device__ __forceinline__ void wave_at(const Waves& waves, const Pixel& pixel, std::int64_t frame,
                                        std::int64_t k, float& sine, float& cosine) {
    const std::int64_t video = divided(frame, waves.frames);
    const float* frequency = waves.frequency + (video * waves.sinusoids + k) * 2;
    const float phase = waves.phase[frame * waves.sinusoids + k];
    sin_cos(fmaf(pixel.y, frequency[1], fmaf(pixel.x, frequency[0], phase)), sine, cosine);
}

// A chunk of sines and one of their cosines, of sinusoids from k; zero past the last, and
// everywhere where there is no pixel.
template <class Tile>
__device__ __forceinline__ void make_chunks(const Waves& waves, const Pixel& pixel, bool exists,
                                            std::int64_t frame, std::int64_t k,
                                            unsigned char* sines, unsigned char* cosines) {
    float s[Tile::ELEMENTS], c[Tile::ELEMENTS];
#pragma unroll
    for (int e = 0; e < Tile::ELEMENTS; ++e) {
        s[e] = c[e] = 0.0f;
        if (exists && k + e < waves.sinusoids) wave_at(waves, pixel, frame, k + e, s[e], c[e]);
    }
    if constexpr (Tile::HALF) {
        *reinterpret_cast<uint4*>(sines) = packed<typename Tile::Number>(s).whole;
        *reinterpret_cast<uint4*>(cosines) = packed<typename Tile::Number>(c).whole;
    } else {
        *reinterpret_cast<float4*>(sines) = {s[0], s[1], s[2], s[3]};
        *reinterpret_cast<float4*>(cosines) = {c[0], c[1], c[2], c[3]};
    }
}

// A left operand: rows are a frame's pixels, a step's terms the sines of some sinusoids and then
// their cosines. A thread has one pixel and half of its sines.
template <class Tile>
class PixelWaves {
  public:
    __device__ __forceinline__ PixelWaves(const Waves& waves, std::int64_t frame,
                                          std::int64_t first)
        : waves_(waves),
          frame_(frame),
          pixel_(waves, first + threadIdx.x % Tile::EXTENT),
          exists_(first + threadIdx.x % Tile::EXTENT < waves.height * waves.width) {}

    __device__ __forceinline__ void issue(unsigned char* room) {
        const int row = threadIdx.x % Tile::EXTENT, half = threadIdx.x / Tile::EXTENT;
        make_chunks<Tile>(waves_, pixel_, exists_, frame_, next_ + half * Tile::ELEMENTS,
                          Tile::chunk(room, false, row, half),
                          Tile::chunk(room, false, row, 2 + half));
        next_ += 2 * Tile::ELEMENTS;
    }

  private:
    const Waves& waves_;
    std::int64_t frame_;
    Pixel pixel_;
    bool exists_;
    std::int64_t next_ = 0;
};

// A right operand: columns are the sines of sinusoids from `first` and then their cosines, terms
// the pixels of a video's frames. A thread has one pixel of a step and a chunk of its sines.
template <class Tile>
class SinusoidWaves {
  public:
    __device__ __forceinline__ SinusoidWaves(const Waves& waves, std::int64_t video,
                                             std::int64_t first, std::int64_t begin,
                                             std::int64_t end)
        : waves_(waves),
          first_frame_(video * waves.frames),
          k_(first + threadIdx.x % HALF * Tile::ELEMENTS),
          next_(begin + threadIdx.x / HALF),
          end_(end) {}

    __device__ __forceinline__ void issue(unsigned char* room) {
        const int term = threadIdx.x / HALF, chunk = threadIdx.x % HALF;
        const std::int64_t pixels = waves_.height * waves_.width, frame = divided(next_, pixels);
        make_chunks<Tile>(waves_, Pixel(waves_, next_ - frame * pixels), next_ < end_,
                          first_frame_ + frame, k_, Tile::chunk(room, true, term, chunk),
                          Tile::chunk(room, true, term, HALF + chunk));
        next_ += Tile::DEPTH;
    }

  private:
    static constexpr int HALF = Tile::EXTENT / 2 / Tile::ELEMENTS;
    const Waves& waves_;
    std::int64_t first_frame_, k_, next_, end_;
};

}  // namespace digan_fast::cuda
