#include <algorithm>

#include "fused/params.h"
#include "mlp/plan.h"

namespace digan_fast {
namespace cuda {
namespace {

constexpr std::int64_t kAlignment = 256;
constexpr int kStepBytes = 32;
// Outputs of a last float32 layer that are sums over a tile; more are a product.
constexpr std::int64_t kFew = 16;
constexpr std::int64_t kMost = std::int64_t{1} << 23;  // of extents that the kernels count in int

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t aligned(std::int64_t bytes) { return divide_up(bytes, kAlignment) * kAlignment; }

Number number_of(const CoordMlpParams& p, Number low) {
    for (const CoordMlpLayer& layer : p.layers)
        if (layer.number != Number::float32) return low;
    return Number::float32;
}

bool has_few(const CoordMlpParams& p, Number number) {
    const CoordMlpLayer& last = p.layers.back();
    return p.layers.size() > 1 && !(last.skip && p.encoded) &&
           (number != Number::float32 || last.outputs <= kFew);
}

// Of what a tile and its tables hold.
std::int64_t widest(const CoordMlpParams& p) {
    std::int64_t width = 0;
    for (const CoordMlpLayer& layer : p.layers) width = std::max(width, layer.outputs);
    return width;
}

int width_for(std::int64_t widest) {
    for (const int width : kWidths)
        if (widest <= width) return width;
    return 0;
}

}  // namespace

MlpPlan plan_mlp(const CoordMlpParams& p, Number low, const std::vector<MlpBack>& back) {
    MlpPlan plan{};
    plan.number = number_of(p, low);
    MlpParams& q = plan.params;
    q.few = has_few(p, plan.number);
    plan.width = width_for(widest(p));
    q.out = p.out;
    q.coordinates = p.coordinates;
    q.points = p.points;
    q.count = static_cast<int>(p.layers.size());
    q.products = q.count - (q.few ? 1 : 0);
    q.dimensions = static_cast<int>(p.layers.front().inputs);
    q.own_coordinates = p.own_coordinates;
    const int step = kStepBytes / (plan.number == Number::float32 ? 4 : 2);
    const std::int64_t step_bytes = static_cast<std::int64_t>(plan.width) * kStepBytes;
    bool own = false;
    for (std::size_t i = 0; i < p.layers.size(); ++i) {
        const CoordMlpLayer& layer = p.layers[i];
        const bool is_sum = q.few && i + 1 == p.layers.size();
        const bool of_coordinates = i == 0 || (layer.skip && !p.encoded);
        const std::int64_t channels = i ? p.layers[i - 1].outputs : 0;
        const std::int64_t rest = layer.inputs - channels;
        MlpPackParams pack{};
        pack.layer.tables = q.table_stride;
        pack.layer.outputs = static_cast<int>(layer.outputs);
        pack.layer.channels = static_cast<int>(channels);
        pack.layer.steps = is_sum ? 0 : static_cast<int>(divide_up(channels, step));
        const bool of_features = layer.skip && p.encoded;
        pack.layer.feature_steps = of_features ? static_cast<int>(divide_up(rest, step)) : 0;
        pack.layer.dimensions = of_coordinates ? static_cast<int>(rest) : 0;
        pack.layer.extra = of_features ? plan.width : static_cast<int>(divide_up(rest, 4) * 4);
        pack.layer.activation = layer.activation;
        pack.layer.skip = layer.skip;
        if (!back.empty()) pack.layer.back = back[i];
        pack.few = is_sum ? static_cast<int>(layer.outputs) : 0;
        pack.weight = layer.weight;
        pack.weight_stride = layer.own_weights ? layer.outputs * layer.inputs : 0;
        pack.bias = layer.bias;
        pack.scale = layer.scale;
        pack.shift = layer.shift;
        pack.input_scale = layer.input_scale;
        pack.input_shift = layer.input_shift;
        pack.inputs = static_cast<int>(layer.inputs);
        pack.omega = layer.omega;
        const int steps = pack.layer.steps + pack.layer.feature_steps;
        pack.blocks = 1 + steps;
        plan.packed.push_back(q.steps * step_bytes);
        q.steps += steps;
        q.table_stride +=
            2 * pack.layer.extra +
            std::int64_t{plan.width} * (kWidthTables + pack.layer.dimensions + pack.few);
        own = own || (layer.own_weights && steps);
        plan.layers.push_back(pack);
    }
    // In the order of the backward.
    plan.packed_back.resize(plan.layers.size());
    for (std::size_t i = back.size(); i-- > 1;) {
        MlpPackParams& pack = plan.layers[i];
        plan.packed_back[i] = q.steps * step_bytes;
        if (!back[i].inputs || pack.few) continue;
        const int steps = static_cast<int>(divide_up(pack.layer.outputs, step));
        pack.layer.back.steps = steps;
        pack.layer.back.feature_steps = pack.layer.feature_steps ? steps : 0;
        pack.blocks += pack.layer.back.steps + pack.layer.back.feature_steps;
        q.steps += pack.layer.back.steps + pack.layer.back.feature_steps;
    }
    q.packed_stride = own ? q.steps * step_bytes : 0;
    for (MlpPackParams& pack : plan.layers) {
        pack.packed_stride = q.packed_stride;
        pack.table_stride = q.table_stride;
    }
    plan.tables = aligned((own ? p.sets : 1) * q.steps * step_bytes);
    plan.places = plan.tables + aligned(p.sets * q.table_stride * 4);
    plan.bytes = plan.places + aligned(q.count * static_cast<std::int64_t>(sizeof(MlpLayer)));
    return plan;
}

}  // namespace cuda

std::string coord_mlp_cuda_why_not(const CoordMlpParams& p, Number low) {
    using namespace cuda;
    const Number number = number_of(p, low);
    const bool few = has_few(p, number);
    for (const CoordMlpLayer& layer : p.layers)
        if (std::max(layer.outputs, layer.inputs) > kMost)
            return "a layer has more than 2^23 inputs or outputs";
    if (!width_for(widest(p)))
        return "a layer has " + std::to_string(widest(p)) + " outputs; a tile holds " +
               std::to_string(kWidths[3]);
    for (std::size_t i = 1; number != Number::float32 && i + (few ? 1 : 0) < p.layers.size(); ++i)
        if (p.layers[i].number == Number::float32)
            return "layer " + std::to_string(i) + " multiplies in float32, others do not";
    return "";
}

std::int64_t coord_mlp_cuda_workspace(const CoordMlpParams& params, Number low) {
    return cuda::plan_mlp(params, low).bytes;
}

}  // namespace digan_fast
