#include <algorithm>

#include "dtype.cuh"
#include "mlp/backward_plan.h"
#include "mlp/sums.h"

namespace digan_fast {
namespace cuda {
namespace {

constexpr const char* kOp = "coord_mlp_backward";

// Makes the gradients of a chunk's points, and adds them to those of the chunks before.
class ChunkSums {
  public:
    ChunkSums(const CoordMlpBackwardParams& params, const MlpBackwardPlan& plan,
              unsigned char* memory, const MlpChunk& chunk, CudaStream stream)
        : params_(params),
          plan_(plan),
          memory_(memory),
          chunk_(chunk),
          stream_(stream),
          starts_(chunk.first_sample == 0 && chunk.first_tile == 0) {}

    void of_layer(std::size_t i) const {
        const CoordMlpLayer& layer = params_.forward.layers[i];
        const CoordMlpLayerGradient& of = params_.gradients[i];
        const MlpPackParams& pack = plan_.forward.layers[i];
        const std::int64_t width = plan_.forward.width, channels = pack.layer.channels;
        const std::int64_t outputs = layer.outputs, inputs = layer.inputs;
        const float* const tables =
            reinterpret_cast<const float*>(memory_ + plan_.sums) + plan_.back[i].sums;
        const float* const extra = tables + kSumTables * width;
        MlpSums sums{};
        const float* const gamma =
            layer.scale ? layer.scale + chunk_.first_sample * outputs : nullptr;
        add_vector(sums, of.bias, tables + kShiftSum * width, outputs, {0, outputs}, layer.omega,
                   gamma);
        add_vector(sums, of.shift, tables + kShiftSum * width, outputs, {0, outputs}, layer.omega);
        add_vector(sums, of.scale, tables + kScaleSum * width, outputs, {0, outputs});
        add_vector(sums, of.input_scale, tables + kInputScaleSum * width, inputs, {0, channels});
        add_vector(sums, of.input_shift, tables + kInputShiftSum * width, inputs, {0, channels});
        add_vector(sums, of.input_scale, extra, inputs, {channels, inputs});
        add_vector(sums, of.input_shift, extra + pack.layer.extra, inputs, {channels, inputs});
        if (of.weight) {
            const float* const of_coordinates = extra + 2 * pack.layer.extra;
            if (pack.layer.dimensions)
                add_weight(sums, i, of_coordinates, pack.layer.dimensions, outputs,
                           of.weight + channels, 1, inputs);
            if (pack.few)
                add_weight(sums, i, of_coordinates + pack.layer.dimensions * width, outputs,
                           channels, of.weight, inputs, 1);
        }
        // Both parts of the weights' gradient share the memory of partial sums.
        multiply(sums, i, false);
        if (plan_.back[i].features >= 0) {
            sum_mlp(sums, stream_);
            sums.count = 0;
            multiply(sums, i, true);
        }
        sum_mlp(sums, stream_);
    }

  private:
    struct Range {
        std::int64_t begin, end;
    };

    // The places `range` of vectors [B, extent], of sums over each sample's tiles.
    void add_vector(MlpSums& sums, float* out, const float* in, std::int64_t extent, Range range,
                    float factor = 1.0f, const float* factors = nullptr) const {
        const std::int64_t count = range.end - range.begin;
        if (!out || count == 0) return;
        sums.add({out + chunk_.first_sample * extent + range.begin, in, factors, chunk_.samples,
                  chunk_.tiles, count, count, chunk_.tiles * plan_.sum_stride, plan_.sum_stride, 0,
                  extent, 0, 1, factor, chunk_.first_tile > 0});
    }

    // Whether a layer's weights have been given a gradient by the chunks before.
    bool adds(const CoordMlpLayer& layer) const {
        return layer.own_weights ? chunk_.first_tile > 0 : !starts_;
    }
    std::int64_t own_weights(const CoordMlpLayer& layer) const {
        return layer.own_weights ? chunk_.first_sample * layer.outputs * layer.inputs : 0;
    }

    // `lines` rows of the tables, of `inner` numbers each, into weights `pitch` and `step` apart.
    void add_weight(MlpSums& sums, std::size_t i, const float* in, std::int64_t lines,
                    std::int64_t inner, float* out, std::int64_t pitch, std::int64_t step) const {
        const CoordMlpLayer& layer = params_.forward.layers[i];
        const std::int64_t groups = layer.own_weights ? chunk_.samples : 1;
        const std::int64_t rows = chunk_.samples * chunk_.tiles / groups;
        sums.add({out + own_weights(layer), in, nullptr, groups, rows, lines * inner, inner,
                  rows * plan_.sum_stride, plan_.sum_stride, plan_.forward.width,
                  layer.outputs * layer.inputs, pitch, step, layer.omega, adds(layer)});
    }

    // The gradient by the weights of channels or features, as a GEMM over the chunk's points.
    void multiply(MlpSums& sums, std::size_t i, bool features) const {
        const CoordMlpLayer& layer = params_.forward.layers[i];
        const MlpWeightGradient weight = weight_gradient(plan_, params_.forward, i, features);
        if (!weight.columns) return;
        const std::int64_t batches = layer.own_weights ? chunk_.samples : 1;
        const std::int64_t depth = chunk_.samples * chunk_.tiles * plan_.pixels / batches;
        const std::int64_t width = plan_.forward.width, elements = layer.outputs * weight.columns;
        const auto operand = [&](std::int64_t place) {
            return Operand{memory_ + plan_.chunk + place, depth * width, width, 1, 0, true, false};
        };
        float* const partials = reinterpret_cast<float*>(memory_ + plan_.partials);
        GemmParams gemm{};
        gemm.out = partials;
        gemm.left = operand(plan_.back[i].gradient);
        gemm.right = operand(weight.operand);
        gemm.batches = batches;
        gemm.rows = layer.outputs;
        gemm.columns = weight.columns;
        gemm.depth = depth;
        gemm.split_depth = weight.split.depth;
        gemm.splits = (depth + weight.split.depth - 1) / weight.split.depth;
        gemm.output = GemmOutput::partial;
        run_gemm(kOp, plan_.forward.number, false, gemm, false, stream_);
        sums.add({params_.gradients[i].weight + own_weights(layer) + weight.first, partials,
                  nullptr, batches, gemm.splits, elements, weight.columns, elements,
                  batches * elements, weight.columns, layer.outputs * layer.inputs, layer.inputs, 1,
                  layer.omega, adds(layer)});
    }

    const CoordMlpBackwardParams& params_;
    const MlpBackwardPlan& plan_;
    unsigned char* const memory_;
    const MlpChunk& chunk_;
    const CudaStream stream_;
    const bool starts_;
};

}  // namespace
}  // namespace cuda

void coord_mlp_backward_cuda(const CoordMlpBackwardParams& params, Number low,
                             std::int64_t chunk_bytes, void* workspace, CudaStream stream) {
    using namespace cuda;
    const CoordMlpParams& p = params.forward;
    MlpBackwardPlan plan = plan_mlp_backward(params, low, chunk_bytes);
    auto* const memory = static_cast<unsigned char*>(workspace);
    pack_mlp_network(plan.forward, p.sets, memory, stream);
    MlpBackwardParams b{};
    b.forward = plan.forward.params;
    b.grad = params.grad;
    b.dcoordinates = params.dcoordinates;
    b.encoded = p.encoded;
    b.chunk = memory + plan.chunk;
    b.sums = reinterpret_cast<float*>(memory + plan.sums);
    b.sum_stride = plan.sum_stride;
    b.kept = reinterpret_cast<float*>(memory + plan.kept);
    b.kept_stride = plan.kept_stride;
    for (const MlpChunk& chunk : chunks_of(plan, p.sets)) {
        b.forward.tiles = chunk.tiles;
        b.first_sample = chunk.first_sample;
        b.first_tile = chunk.first_tile;
        b.all_tiles = static_cast<int>(chunk.samples * chunk.tiles);
        b.blocks = static_cast<int>(std::min<std::int64_t>(plan.blocks, b.all_tiles));
        with_dtype(plan.forward.number, [&](auto dtype) {
            launch_mlp_backward<decltype(dtype)>(b, plan.forward.width, stream);
        });
        const ChunkSums sums(params, plan, memory, chunk, stream);
        for (std::size_t i = 0; i < p.layers.size(); ++i) sums.of_layer(i);
    }
}

}  // namespace digan_fast
