#include "dtype.cuh"
#include "mlp/plan.h"

namespace digan_fast {
namespace cuda {

void pack_mlp_network(MlpPlan& plan, std::int64_t samples, unsigned char* memory,
                      CudaStream stream) {
    MlpParams& q = plan.params;
    auto* const tables = reinterpret_cast<float*>(memory + plan.tables);
    auto* const places = reinterpret_cast<MlpLayer*>(memory + plan.places);
    for (std::size_t i = 0; i < plan.layers.size(); ++i) {
        MlpPackParams& pack = plan.layers[i];
        pack.packed = memory + plan.packed[i];
        pack.packed_back = memory + plan.packed_back[i];
        pack.tables = tables + pack.layer.tables;
        pack.place = places + i;
        with_dtype(plan.number, [&](auto dtype) {
            pack_mlp_layer<decltype(dtype)>(pack, plan.width, samples, stream);
        });
    }
    q.packed = memory;
    q.tables = tables;
    q.layers = places;
}

}  // namespace cuda

void coord_mlp_cuda(const CoordMlpParams& p, Number low, void* workspace, CudaStream stream) {
    using namespace cuda;
    MlpPlan plan = plan_mlp(p, low);
    pack_mlp_network(plan, p.sets, static_cast<unsigned char*>(workspace), stream);
    MlpParams& q = plan.params;
    q.tiles = (q.points - 1) / mlp_pixels(plan.number != Number::float32, plan.width) + 1;
    with_dtype(plan.number,
               [&](auto dtype) { launch_mlp<decltype(dtype)>(q, plan.width, p.sets, stream); });
}

}  // namespace digan_fast
