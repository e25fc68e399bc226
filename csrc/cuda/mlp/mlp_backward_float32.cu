#include "mlp/backward_launch.cuh"

namespace digan_fast::cuda {

template void launch_mlp_backward<Float32>(const MlpBackwardParams&, int, CudaStream);

}  // namespace digan_fast::cuda
