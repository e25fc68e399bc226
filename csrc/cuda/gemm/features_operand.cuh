#pragma once

// Fourier features of pixels as an operand of a GEMM, made in shared memory where others are
// copied.

#include "features.cuh"
#include "gemm/tile.cuh"

namespace digan_fast::cuda {

// A chunk of sines and one of their cosines, of sinusoids from k; zero past the last, and
// everywhere where there is no pixel.
template <class Tile>
__device__ __forceinline__ void make_chunks(const Features& features, const Pixel& pixel,
                                            bool exists, std::int64_t frame, int k,
                                            unsigned char* sines, unsigned char* cosines) {
    const Sinusoids sinusoids(features, frame, k);
    float s[Tile::kElements], c[Tile::kElements];
#pragma unroll
    for (int e = 0; e < Tile::kElements; ++e) {
        s[e] = c[e] = 0.0f;
        if (exists && k + e < features.sinusoids) sinusoids.at(pixel, e, s[e], c[e]);
    }
    if constexpr (Tile::kHalf) {
        *reinterpret_cast<uint4*>(sines) = packed<typename Tile::Dtype>(s).whole;
        *reinterpret_cast<uint4*>(cosines) = packed<typename Tile::Dtype>(c).whole;
    } else {
        *reinterpret_cast<float4*>(sines) = {s[0], s[1], s[2], s[3]};
        *reinterpret_cast<float4*>(cosines) = {c[0], c[1], c[2], c[3]};
    }
}

// The features of pixels, step by step. As a left operand rows are a frame's pixels, and terms the
// sines of some sinusoids and then their cosines; as a right one columns are the sines of some
// sinusoids and then their cosines, and terms the pixels of a video's frames. A thread has a pixel
// of a step and a chunk of its sines.
template <class Tile>
class FeatureProducer {
  public:
    // Pixels [pixel, end), counted from the first one of `frame`, and sinusoids from `k`.
    __device__ __forceinline__ FeatureProducer(const Features& features, bool is_left,
                                               std::int64_t frame, std::int64_t pixel,
                                               std::int64_t end, std::int64_t k)
        : features_(features), is_left_(is_left), frame_(frame) {
        pixel_ = pixel + outer();
        pixels_left_ = static_cast<int>(min(end - pixel_, std::int64_t{1} << 30));
        k_ = static_cast<int>(k) + chunk() * Tile::kElements;
    }

    __device__ __forceinline__ void issue(unsigned char* smem) {
        const std::int64_t pixels = features_.height * features_.width;
        const std::int64_t frame = divided(pixel_, pixels);
        const auto at = [&](int chunk) { return Tile::chunk(smem, !is_left_, outer(), chunk); };
        make_chunks<Tile>(features_, Pixel(features_, pixel_ - frame * pixels), pixels_left_ > 0,
                          frame_ + frame, k_, at(chunk()),
                          at(chunk() + (is_left_ ? 2 : kSineChunks)));
        if (is_left_) {
            k_ += 2 * Tile::kElements;
        } else {
            pixel_ += Tile::kDepth;
            pixels_left_ -= Tile::kDepth;
        }
    }

  private:
    static constexpr int kSineChunks = Tile::kExtent / 2 / Tile::kElements;  // chunks of sines

    __device__ __forceinline__ int outer() const {
        return is_left_ ? threadIdx.x % Tile::kExtent : threadIdx.x / kSineChunks;
    }
    __device__ __forceinline__ int chunk() const {
        return is_left_ ? threadIdx.x / Tile::kExtent : threadIdx.x % kSineChunks;
    }

    const Features& features_;
    bool is_left_;
    std::int64_t frame_, pixel_;
    int pixels_left_, k_;
};

}  // namespace digan_fast::cuda
