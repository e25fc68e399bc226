#include <algorithm>

#include "dtype.cuh"
#include "gemm/plan.h"

namespace digan_fast::cuda {
namespace {

std::int64_t divided_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Whether an operand can be copied in aligned, whole chunks of 16 bytes.
bool has_vectors(const Operand& operand, std::int64_t rows, std::int64_t depth, int elements) {
    const std::int64_t neighbours = operand.transposed ? rows : depth;
    for (const std::int64_t extent : {operand.batch, operand.stride, operand.cosines, neighbours})
        if (extent % elements) return false;
    return is_aligned(operand.data);
}

}  // namespace

SplitK split_k(std::int64_t rows, std::int64_t columns, std::int64_t batches, std::int64_t depth,
               Number number) {
    // Two for each of an H100's 132 multiprocessors.
    constexpr std::int64_t kBlocks = 264, kExtent = 128, kSteps = 4;
    const std::int64_t step = number == Number::float32 ? 16 : 32;
    const std::int64_t blocks = divided_up(rows, kExtent) * divided_up(columns, kExtent) * batches;
    const std::int64_t most =
        std::min(divided_up(kBlocks, blocks), divided_up(depth, kSteps * step));
    const std::int64_t count = std::max(most, divided_up(depth, kMostTerms));
    const std::int64_t each = divided_up(divided_up(depth, count), step) * step;
    return {divided_up(depth, each), each};
}

void run_gemm(const char* op, Number number, bool tf32, GemmParams p, bool features,
              CudaStream stream) {
    const int elements = number == Number::float32 ? 4 : 8;
    p.left.vectors = has_vectors(p.left, p.rows, p.depth, elements);
    p.right.vectors = has_vectors(p.right, p.columns, p.depth, elements);
    p.vectors = p.columns % 4 == 0;
    for (const void* tensor : {static_cast<const void*>(p.out), p.grad, p.saved, p.features.base})
        p.vectors = p.vectors && is_aligned(tensor);
    if (number == Number::bfloat16)
        launch_gemm<Bfloat16>(op, p, features, stream);
    else if (number == Number::float16)
        launch_gemm<Float16>(op, p, features, stream);
    else if (tf32)
        launch_gemm<Tf32>(op, p, features, stream);
    else
        launch_gemm<Float32>(op, p, features, stream);
}

}  // namespace digan_fast::cuda
