#include <algorithm>

#include "gemm/plan.h"
#include "storage.cuh"

namespace digan_fast::cuda {
namespace {

std::int64_t divided_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Whether every sixteen bytes of an operand lie aligned and are whole.
bool has_vectors(const Operand& operand, std::int64_t rows, std::int64_t depth, int elements) {
    const std::int64_t neighbours = operand.across ? rows : depth;
    for (const std::int64_t extent : {operand.batch, operand.stride, operand.cosines, neighbours})
        if (extent % elements) return false;
    return is_aligned(operand.data);
}

}  // namespace

Parts parts_of(std::int64_t rows, std::int64_t columns, std::int64_t batches, std::int64_t depth,
               Number number) {
    // Of an H100's 132 multiprocessors two each.
    constexpr std::int64_t kBlocks = 264, kExtent = 128, kSteps = 4;
    const std::int64_t step = number == Number::float32 ? 16 : 32;
    const std::int64_t blocks = divided_up(rows, kExtent) * divided_up(columns, kExtent) * batches;
    const std::int64_t most =
        std::min(divided_up(kBlocks, blocks), divided_up(depth, kSteps * step));
    const std::int64_t count = std::max(most, divided_up(depth, kMostTerms));
    const std::int64_t each = divided_up(divided_up(depth, count), step) * step;
    return {divided_up(depth, each), each};
}

Finish finish_of(Activation activation, float gain, float clamp) {
    constexpr float kSlope = 0.2f;
    const float below = activation == Activation::relu    ? 0.0f
                        : activation == Activation::lrelu ? kSlope * gain
                                                          : gain;
    return {gain, below, clamp, activation == Activation::sine};
}

void run_product(const char* op, Number number, bool tf32, ProductParams p, bool waves,
                 CudaStream stream) {
    const int elements = number == Number::float32 ? 4 : 8;
    p.left.vectors = has_vectors(p.left, p.rows, p.depth, elements);
    p.right.vectors = has_vectors(p.right, p.columns, p.depth, elements);
    p.vectors = p.columns % 4 == 0;
    for (const void* tensor : {static_cast<const void*>(p.out), p.grad, p.saved, p.waves.base})
        p.vectors = p.vectors && is_aligned(tensor);
    if (number == Number::bfloat16)
        product_bfloat16(op, p, waves, stream);
    else if (number == Number::float16)
        product_float16(op, p, waves, stream);
    else if (tf32)
        product_tf32(op, p, waves, stream);
    else
        product_float32(op, p, waves, stream);
}

}  // namespace digan_fast::cuda
