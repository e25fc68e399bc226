#include "mlp/launch.cuh"

namespace digan_fast::cuda {

template void pack_mlp_layer<Float32>(const MlpPackParams&, int, std::int64_t, CudaStream);
template void launch_mlp<Float32>(const MlpParams&, int, std::int64_t, CudaStream);

}  // namespace digan_fast::cuda
