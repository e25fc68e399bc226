#include "launch.h"
#include "mlp/sums.cuh"

namespace digan_fast::cuda {

void sum_mlp(const MlpSums& p, CudaStream stream) {
    std::int64_t blocks = 0;
    for (int i = 0; i < p.count; ++i) blocks += mlp_sum_blocks(p.sum[i]);
    if (blocks)
        launch("coord_mlp_backward", sum_mlp_kernel, blocks, kRowSumThreads, ThreadSums<1>::kBytes,
               stream, p);
}

}  // namespace digan_fast::cuda
