#pragma once

#include "gemm/plan.h"
#include "mlp/plan.h"

namespace digan_fast::cuda {

// The points of some samples that a launch takes: whole samples, or tiles of one.
struct MlpChunk {
    std::int64_t first_sample, samples;
    std::int64_t first_tile, tiles;  // of each sample
};

// The workspace has the forward's weights and tables, then operands, sums over tiles, products that
// blocks keep, and partial sums of weights' gradients, each for one chunk.
struct MlpBackwardPlan {
    MlpPlan forward;
    std::vector<MlpBack> back;
    int pixels;                // of a tile
    std::int64_t tiles;        // of a sample
    MlpChunk most;             // extents of the largest chunk
    std::int64_t sum_stride;   // of a tile, in numbers
    std::int64_t kept_stride;  // of a block, in numbers
    std::int64_t blocks;
    std::int64_t chunk, sums, kept, partials;  // where they begin, in bytes
    std::int64_t bytes;                        // of the workspace
};

// Of params accepted by coord_mlp_backward_cuda_why_not.
MlpBackwardPlan plan_mlp_backward(const CoordMlpBackwardParams& params, Number low,
                                  std::int64_t chunk_bytes);

std::vector<MlpChunk> chunks_of(const MlpBackwardPlan& plan, std::int64_t samples);

// How the GEMM makes the gradient by the part of layer i's weights that multiplies channels, or
// encoded coordinates; without columns it does not.
struct MlpWeightGradient {
    std::int64_t operand;         // in the chunk, in bytes
    std::int64_t first, columns;  // of the weight's
    std::int64_t batches;         // of the largest chunk, as are the splits
    SplitK split;
};
MlpWeightGradient weight_gradient(const MlpBackwardPlan& plan, const CoordMlpParams& params,
                                  std::size_t i, bool features);

}  // namespace digan_fast::cuda
