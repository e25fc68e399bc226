#pragma once

#include <cstdint>

#include "activation.cuh"

namespace digan_fast::cuda {

// One side of a batch of products: rows (the right side's are the output's columns) by terms of
// their sums, in memory in either order.
struct Operand {
    const void* data;        // null: waves, which the kernel makes
    std::int64_t batch;      // elements from one batch entry to the next
    std::int64_t stride;     // elements from one row, or one term where `across`, to the next
    std::int64_t shared_by;  // batch entries, one behind the other, that have the same one
    std::int64_t cosines;    // K: neighbours are K sines and then K cosines; else 0
    bool across;             // neighbours in memory are rows; else terms
    bool vectors;            // sixteen bytes lie aligned, and are all inside or all outside
};

// θ = F·(x, y) + φ of the pixels of a rectangle, row by row and frame by frame.
struct Waves {
    const float* frequency;  // [B, K, 2]
    const float* phase;      // [B, T, K]
    const void* base;        // [B, T, base_height, base_width, columns], or null
    std::int64_t frames, sinusoids;
    std::int64_t side, top, left, height, width, base_height, base_width;
};

enum class Result {
    activated,  // clamp(act(sum + bias + base)·gain, ±clamp)
    gradient,   // grad·act'(sum + bias)·gain where `saved` is within the clamp
    plain,      // the sum
    partial,    // the sum of a part of the terms, in float32
    theta,  // Σ dθ, Σ dθ·x and Σ dθ·y over a tile's pixels, the sums being by sin θ and by cos θ
};

// out[part, b, m, n] = Σ_k left[b, m, k]·right[b, n, k] over the part's k. Sines and cosines, of
// which K counts as the extent, are made by the kernel itself: as the left operand of `activated`,
// as the right one of `plain` and `partial`.
struct ProductParams {
    void* out;  // of theta: [batches, tiles of rows, 3, K], float32
    Operand left, right;
    std::int64_t batches, rows, columns, depth;
    std::int64_t parts, part_depth;  // terms of a part: whole steps
    Result result;
    bool vectors;       // four outputs lie aligned, and are all inside or all outside
    const float* bias;  // [columns], or null
    std::int64_t bias_batch;
    Finish finish;
    const void* grad;   // [batches, rows, columns], of gradient
    const void* saved;  // the same
    Waves waves;
};

// Whether the gradient goes through an output, the clamp being as its type rounds it. A NaN has one
// where there is no clamp.
__device__ __forceinline__ bool passes_clamp(float output, float clamp) {
    return clamp == __uint_as_float(0x7F800000u) || fabsf(output) < clamp;
}

}  // namespace digan_fast::cuda
