#pragma once

#include "digan_fast/bias_act.h"
#include "gemm/params.h"

namespace digan_fast::cuda {

// Compiled for each element type in a source of its own; `features`: an operand, or theta, is of
// sines and cosines.
template <class Dtype>
void launch_gemm(const char* op, const GemmParams& params, bool features, CudaStream stream);

// `params` with extents and addresses; how tensors can be accessed is derived from them.
void run_gemm(const char* op, Number number, bool tf32, GemmParams params, bool features,
              CudaStream stream);

// Split-K: the terms of a sum over pixels are split until there are enough blocks to fill a device,
// four steps or more each.
struct SplitK {
    std::int64_t count, depth;
};
constexpr std::int64_t kMostTerms = std::int64_t{1} << 30;  // of a split, which a thread counts
SplitK split_k(std::int64_t rows, std::int64_t columns, std::int64_t batches, std::int64_t depth,
               Number number);

}  // namespace digan_fast::cuda
