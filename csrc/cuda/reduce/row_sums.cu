#include "launch.h"
#include "reduce/row_sums.cuh"

namespace digan_fast::cuda {
namespace {

template <class Dtype, int Count>
void run(const char* op, const GradientParams& p, CudaStream stream) {
    const std::int64_t across = (p.columns + kRowSumLanes * Count - 1) / (kRowSumLanes * Count);
    launch(op, gradient_kernel<Dtype, Count>, across * p.parts * p.groups, kRowSumThreads,
           ThreadSums<Count>::kBytes, stream, p);
}

template <class Dtype>
void run_gradient(const char* op, const GradientParams& p, CudaStream stream) {
    constexpr int kVector = kVectorElements<Dtype>;
    const bool aligned = is_aligned(p.dz) && is_aligned(p.dbase) && is_aligned(p.grad) &&
                         is_aligned(p.saved) && p.columns % kVector == 0;
    if (aligned)
        run<Dtype, kVector>(op, p, stream);
    else
        run<Dtype, 1>(op, p, stream);
}

template <class Dtype>
void run_sum(const char* op, const RowSumParams& p, CudaStream stream) {
    const int lanes = p.rows < kRowSumThreads / kRowSumLanes ? kRowSumThreads : kRowSumLanes;
    launch(op, row_sum_kernel<Dtype>, (p.columns + lanes - 1) / lanes * p.groups, kRowSumThreads,
           ThreadSums<1>::kBytes, stream, p);
}

}  // namespace

void pre_activation_gradient(const char* op, Number number, const GradientParams& p,
                             CudaStream stream) {
    with_dtype(number, [&](auto dtype) { run_gradient<decltype(dtype)>(op, p, stream); });
}

void sum_rows(const char* op, const RowSumParams& p, CudaStream stream) {
    with_dtype(p.number, [&](auto dtype) { run_sum<decltype(dtype)>(op, p, stream); });
}

}  // namespace digan_fast::cuda
