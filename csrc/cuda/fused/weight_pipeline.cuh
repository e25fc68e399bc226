#pragma once

#include "fused/tile.cuh"

namespace digan_fast::cuda {

// A stage's packed weights, from global through shared memory into registers, prefetched `Slots`
// steps ahead and across products. A warp's weights are its own: for tensor cores every thread
// copies exactly what it reads, so that none waits for another; for fma the lanes of a warp wait
// for each other.
template <class Tile, int Slots>
class WeightPipeline {
  public:
    static constexpr int kBytes = Slots * Tile::kStepBytes;

    __device__ __forceinline__ WeightPipeline(unsigned char* smem, const unsigned char* packed,
                                              int steps)
        : remaining_(steps) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const int mine = (warp * Tile::kVectors * 32 + lane) * 16;
        smem_ = smem + mine;
        next_ = packed + mine;
        slot_ = smem_;
#pragma unroll
        for (int i = 0; i < Slots; ++i) {
            issue();
            advance();
        }
    }

    // The next step's: two words for each of the warp's tiles of 8 columns.
    __device__ __forceinline__ void take(uint32_t (&weights)[4 * Tile::kVectors]) {
        copy_async_wait<Slots - 1>();
#pragma unroll
        for (int v = 0; v < Tile::kVectors; ++v) {
            const uint4 read = *reinterpret_cast<const uint4*>(slot_ + v * 512);
            weights[4 * v] = read.x;
            weights[4 * v + 1] = read.y;
            weights[4 * v + 2] = read.z;
            weights[4 * v + 3] = read.w;
        }
        issue();
        advance();
    }

    // The next step's of the whole warp, four columns of an input in a float4, until the slot is
    // released.
    __device__ __forceinline__ const float4* hold() const {
        copy_async_wait<Slots - 1>();
        __syncwarp();
        return reinterpret_cast<const float4*>(slot_ - threadIdx.x % 32 * 16);
    }
    __device__ __forceinline__ void release() {
        __syncwarp();
        issue();
        advance();
    }

  private:
    // Commits one group a step, empty past the end, so that counting groups counts steps.
    __device__ __forceinline__ void issue() {
        if (remaining_ > 0) {
#pragma unroll
            for (int v = 0; v < Tile::kVectors; ++v)
                copy_async_16(slot_ + v * 512, next_ + v * 512);
            next_ += Tile::kStepBytes;
            --remaining_;
        }
        copy_async_commit();
    }

    __device__ __forceinline__ void advance() {
        slot_ += Tile::kStepBytes;
        if (slot_ == smem_ + kBytes) slot_ = smem_;
    }

    unsigned char* smem_;
    unsigned char* slot_;
    const unsigned char* next_;
    int remaining_;
};

}  // namespace digan_fast::cuda
