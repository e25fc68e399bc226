#pragma once

#include <cstdint>

#include "activation.cuh"
#include "features.cuh"

namespace digan_fast::cuda {

// One side of a batch of GEMMs: rows (the right side's are the output's columns) by terms of
// their sums, in memory in either order.
struct Operand {
    const void* data;        // null: features, which the kernel makes
    std::int64_t batch;      // elements from one batch entry to the next
    std::int64_t stride;     // elements from one row, or one term where `transposed`, to the next
    std::int64_t shared_by;  // consecutive batch entries that share one
    std::int64_t cosines;    // K: neighbours are K sines and then K cosines; else 0
    bool transposed;         // neighbours in memory are rows; else terms
    bool vectors;            // sixteen bytes lie aligned, and are all inside or all outside
};

enum class GemmOutput {
    activated,  // clamp(act(sum + bias + base)·gain, ±clamp)
    gradient,   // grad·act'(sum + bias)·gain where `saved` is within the clamp
    plain,      // the sum
    partial,    // the sum of a split's terms, in float32
    theta,  // Σ dθ, Σ dθ·x and Σ dθ·y over a tile's pixels, the sums being by sin θ and by cos θ
};

// out[split, b, m, n] = Σ_k left[b, m, k]·right[b, n, k] over the split's k. Features, of which K
// counts as the extent, are made by the kernel itself: as the left operand of `activated`, as the
// right one of `plain` and `partial`.
struct GemmParams {
    void* out;  // of theta: [batches, tiles of rows, 3, K], float32
    Operand left, right;
    std::int64_t batches, rows, columns, depth;
    std::int64_t splits, split_depth;  // split-K; terms of a split: whole steps
    GemmOutput output;
    bool vectors;       // four outputs lie aligned, and are all inside or all outside
    const float* bias;  // [columns], or null
    std::int64_t bias_batch;
    Epilogue epilogue;
    const void* grad;   // [batches, rows, columns], of gradient
    const void* saved;  // the same
    Features features;
};

}  // namespace digan_fast::cuda
