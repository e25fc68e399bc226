#pragma once

#include "digan_fast/bias_act.h"
#include "gemm/params.h"

namespace digan_fast::cuda {

// One for each file product_<number>.cu; `waves`: an operand, or theta, is of sines and cosines.
void product_float32(const char* op, const ProductParams& params, bool waves, CudaStream stream);
void product_tf32(const char* op, const ProductParams& params, bool waves, CudaStream stream);
void product_bfloat16(const char* op, const ProductParams& params, bool waves, CudaStream stream);
void product_float16(const char* op, const ProductParams& params, bool waves, CudaStream stream);

// Extents and addresses filled in, how tensors are to be accessed follows.
void run_product(const char* op, Number number, bool tf32, ProductParams params, bool waves,
                 CudaStream stream);

// Terms of a sum over pixels are cut into parts until there are enough blocks to fill a device,
// of four steps or more each.
struct Parts {
    std::int64_t count, depth;
};
constexpr std::int64_t kMostTerms = std::int64_t{1} << 30;  // of a part, which a thread counts
Parts parts_of(std::int64_t rows, std::int64_t columns, std::int64_t batches, std::int64_t depth,
               Number number);

// Above and below of an activation, as `Finish` takes them.
Finish finish_of(Activation activation, float gain, float clamp);

}  // namespace digan_fast::cuda
