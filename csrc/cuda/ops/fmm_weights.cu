#include "launch.h"
#include "ops/fmm_weights.cuh"

namespace digan_fast {
namespace {

int row_bytes(std::int64_t inputs) {
    return static_cast<int>((inputs + cuda::kFmmThreads) * sizeof(float));
}

}  // namespace

void fmm_weights_cuda(const FmmWeightsParams& p, CudaStream stream) {
    using namespace cuda;
    launch("fmm_weights", fmm_weights_kernel, p.batch * p.outputs, kFmmThreads, row_bytes(p.inputs),
           stream, p);
}

void fmm_weights_backward_cuda(const FmmWeightsBackwardParams& p, CudaStream stream) {
    using namespace cuda;
    const char* op = "fmm_weights_backward";
    launch(op, fmm_weights_rows_kernel, p.outputs, kFmmThreads, row_bytes(p.inputs), stream, p);
    const std::int64_t elements = p.batch * p.rank * p.inputs;
    launch(op, fmm_weights_right_kernel, (elements + kFmmThreads - 1) / kFmmThreads, kFmmThreads, 0,
           stream, p);
}

}  // namespace digan_fast
