#include "dtype.cuh"
#include "mlp/plan.h"

namespace digan_fast {
namespace cuda {
namespace {

template <class Dtype>
int pixels_of(int width) {
    constexpr bool kHalf = kHalfPrecision<Dtype>;
    return kHalf ? (width >= 256 ? 64 : 128) : (width >= 512 ? 32 : 64);
}

template <class Dtype>
void run(MlpPlan& plan, std::int64_t samples, unsigned char* memory, CudaStream stream) {
    MlpParams& q = plan.params;
    auto* const tables = reinterpret_cast<float*>(memory + plan.tables);
    auto* const places = reinterpret_cast<MlpLayer*>(memory + plan.places);
    for (std::size_t i = 0; i < plan.layers.size(); ++i) {
        MlpPackParams& pack = plan.layers[i];
        pack.packed = memory + plan.packed[i];
        pack.tables = tables + pack.layer.tables;
        pack.place = places + i;
        pack_mlp_layer<Dtype>(pack, plan.width, samples, stream);
    }
    q.packed = memory;
    q.tables = tables;
    q.layers = places;
    q.tiles = (q.points - 1) / pixels_of<Dtype>(plan.width) + 1;
    launch_mlp<Dtype>(q, plan.width, samples, stream);
}

}  // namespace
}  // namespace cuda

void coord_mlp_cuda(const CoordMlpParams& p, Number low, void* workspace, CudaStream stream) {
    using namespace cuda;
    MlpPlan plan = plan_mlp(p, low);
    auto* const memory = static_cast<unsigned char*>(workspace);
    with_dtype(plan.number,
               [&](auto dtype) { run<decltype(dtype)>(plan, p.sets, memory, stream); });
}

}  // namespace digan_fast
