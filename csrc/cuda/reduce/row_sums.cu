#include "launch.h"
#include "reduce/row_sums.cuh"

namespace digan_fast::cuda {
namespace {

template <Number NUMBER, int COUNT>
void run(const char* op, const GradientParams& p, CudaStream stream) {
    const std::int64_t across = (p.columns + kRowSumLanes * COUNT - 1) / (kRowSumLanes * COUNT);
    launch(op, gradient_kernel<NUMBER, COUNT>, across * p.parts * p.groups, kRowSumThreads,
           ThreadSums<COUNT>::BYTES, stream, p);
}

template <Number NUMBER>
void run_gradient(const char* op, const GradientParams& p, CudaStream stream) {
    constexpr int VECTOR = Storage<NUMBER>::VECTOR;
    const bool aligned = is_aligned(p.dz) && is_aligned(p.dbase) && is_aligned(p.grad) &&
                         is_aligned(p.saved) && p.columns % VECTOR == 0;
    if (aligned)
        run<NUMBER, VECTOR>(op, p, stream);
    else
        run<NUMBER, 1>(op, p, stream);
}

template <Number NUMBER>
void run_sum(const char* op, const RowSumParams& p, CudaStream stream) {
    const int lanes = p.rows < kRowSumThreads / kRowSumLanes ? kRowSumThreads : kRowSumLanes;
    launch(op, row_sum_kernel<NUMBER>, (p.columns + lanes - 1) / lanes * p.groups, kRowSumThreads,
           ThreadSums<1>::BYTES, stream, p);
}

}  // namespace

void pre_activation_gradient(const char* op, Number number, const GradientParams& p,
                             CudaStream stream) {
    switch (number) {
        case Number::float32:
            return run_gradient<Number::float32>(op, p, stream);
        case Number::bfloat16:
            return run_gradient<Number::bfloat16>(op, p, stream);
        case Number::float16:
            return run_gradient<Number::float16>(op, p, stream);
    }
}

void sum_rows(const char* op, const RowSumParams& p, CudaStream stream) {
    switch (p.number) {
        case Number::float32:
            return run_sum<Number::float32>(op, p, stream);
        case Number::bfloat16:
            return run_sum<Number::bfloat16>(op, p, stream);
        case Number::float16:
            return run_sum<Number::float16>(op, p, stream);
    }
}

}  // namespace digan_fast::cuda
