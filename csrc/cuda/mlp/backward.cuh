#pragma once

// The backward of coordinate MLPs: a block takes a tile of one sample's points through all layers
// and back. Of the forward it keeps products, which its threads read again themselves; the operands
// of weights' gradients are left for the GEMM, and sums over the tile for a pass over tiles.

#include "mlp/backward_points.cuh"

namespace digan_fast::cuda {

// Of the pipeline: as many as leave room for the activations in 99 KiB.
template <class Tile>
constexpr int kBackwardSlots = Tile::kWidth >= 512 ? 2 : 4;

// A block's tile, which its threads read again for each use.
struct alignas(16) TileIndex {
    std::int64_t sample, first;  // point
    std::int64_t index;          // in the chunk
    float* kept;
};

template <class Tile>
constexpr int kBackwardBytes =
    kMlpBytes<Tile, kBackwardSlots<Tile>> + static_cast<int>(sizeof(TileIndex));

template <class Dtype, int Width>
__global__ void __launch_bounds__(StageTile<Dtype, Width>::kThreads, 1)
    differentiate_mlp(const __grid_constant__ MlpBackwardParams p) {
    using Tile = BackwardTile<Dtype, Width>;
    constexpr std::int64_t kNumbers = Tile::kPixels * Width, kRowsBytes = Tile::kActivationBytes;
    DIGAN_FAST_DYNAMIC_SHARED(smem);
    const Activations<Tile> tile(smem);
    const PixelRows<Tile> rows{reinterpret_cast<float*>(smem)};
    const MlpParams& q = p.forward;
    // Layers, tables and places are found again for each use: registers are scarce.
    const auto zero = [](int, int, int, float& sum) { sum = 0.0f; };
    auto& at = *reinterpret_cast<TileIndex*>(smem + kBackwardBytes<Tile> - sizeof(TileIndex));
    const auto kept = [&](int n) { return at.kept + n * kNumbers; };
    // A gradient, or what the last layer reads; then the gradient by encoded coordinates.
    const auto scratch = [&] { return kept(q.products); };
    const auto feature_gradient = [&] { return kept(q.products + 1); };
    const auto lane = [] { return static_cast<int>(threadIdx.x % 32); };
    const auto place = [&] {
        return MlpPlace<Tile>{at.sample, at.first, static_cast<int>(threadIdx.x / 32), lane()};
    };
    const auto tables = [&](int n) {
        return q.tables + at.sample * q.table_stride + q.layers[n].tables;
    };
    const auto sums_of = [&](int n) {
        return p.sums + at.index * p.sum_stride + q.layers[n].back.sums;
    };
    const auto copy = [&](std::int64_t operand) {
        if (operand >= 0) copy_tile<Tile>(tile, p.chunk + operand + at.index * kRowsBytes);
    };
#pragma unroll 1
    for (int index = blockIdx.x; index < p.all_tiles; index += p.blocks) {
        if (threadIdx.x == 0) {
            const int tiles = static_cast<int>(q.tiles);
            at = {p.first_sample + index / tiles, (p.first_tile + index % tiles) * Tile::kPixels,
                  index, p.kept + blockIdx.x * p.kept_stride};
        }
        __syncthreads();
        WeightPipeline<Tile, kBackwardSlots<Tile>> weights(
            smem + Tile::kActivationBytes, q.packed + at.sample * q.packed_stride, q.steps);
        StageSums<Tile> sums;
#pragma unroll 1
        for (int n = 0; n < q.products; ++n) {
            const MlpLayer& layer = q.layers[n];
            visit_sums<Tile>(sums, place(), zero);
            // Channels, and then features if there are any: one main loop, as registers are scarce.
#pragma unroll 1
            for (bool of_channels = true;; of_channels = false) {
                mainloop<Tile>(sums, tile, weights, of_channels ? layer.steps : layer.feature_steps,
                               lane());
                if (!Tile::kReadsFeatures || !of_channels || !layer.feature_steps) break;
                Kept<Tile>(scratch()).store_sums(sums);
                __syncthreads();
                make_inputs<Tile>(place(), tile, kept(0), nullptr, tables(0),
                                  q.layers[0].activation, tables(n) + kWidthTables * Width);
                __syncthreads();
                copy(layer.back.features);
                Kept<Tile>(scratch()).load_sums(sums);
            }
            add_coordinates<Tile>(sums, q, place(), layer, tables(n));
            keep_products<Tile>(sums, place(), kept(n), tables(n));
            __syncthreads();
            if (n + 1 == q.count) break;
            const bool is_few = n + 1 == q.products;
            make_inputs<Tile>(place(), tile, kept(n), is_few ? scratch() : nullptr, tables(n),
                              layer.activation, tables(n + 1) + kInputScale * Width);
            if (is_few) break;
            __syncthreads();
            copy(q.layers[n + 1].back.operand);
        }
        if (q.few) {
            differentiate_few<Tile>(p, place(), rows, scratch(), q.layers[q.count - 1],
                                    tables(q.count - 1), sums_of(q.count - 1));
        } else {
            load_gradient<Tile>(p, place(), scratch(), q.layers[q.count - 1].outputs);
        }
#pragma unroll 1
        for (int n = q.products - 1; n >= 0; --n) {
            const MlpLayer& layer = q.layers[n];
            const float* input_scale = nullptr;
            if (n + 1 < q.count) {
                const MlpBack& after = q.layers[n + 1].back;
                if (after.input)
                    sum_input_gradients<Tile>(place(), scratch(), kept(n), tables(n),
                                              layer.activation,
                                              sums_of(n + 1) + kInputScaleSum * Width,
                                              sums_of(n + 1) + kInputShiftSum * Width);
                if (!after.inputs) break;
                input_scale = tables(n + 1) + kInputScale * Width;
            }
            if (!layer.back.wanted) break;
            __syncthreads();
            differentiate<Tile>(
                place(), tile, scratch(), kept(n),
                n == 0 && p.encoded && layer.back.adds ? feature_gradient() : nullptr, tables(n),
                layer, input_scale, sums_of(n));
            if (layer.dimensions) {
                differentiate_coordinates<Tile>(p, place(), rows, scratch(), layer, tables(n),
                                                sums_of(n));
                if (n == 0) break;
                __syncthreads();
                store_kept<Tile>(place(), tile, scratch());
            }
            __syncthreads();
            copy(layer.back.gradient);
            if (!layer.back.inputs) break;
#pragma unroll 1
            for (bool of_features = Tile::kReadsFeatures && layer.back.feature_steps > 0;;
                 of_features = false) {
                visit_sums<Tile>(sums, place(), zero);
                mainloop<Tile>(sums, tile, weights,
                               of_features ? layer.back.feature_steps : layer.back.steps, lane());
                Kept<Tile>(scratch()).store_sums(sums);
                if (!of_features) break;
                if (layer.back.input)
                    sum_input_gradients<Tile>(place(), scratch(), kept(0), tables(0),
                                              q.layers[0].activation,
                                              sums_of(n) + kSumTables * Width,
                                              sums_of(n) + kSumTables * Width + layer.extra);
                keep_feature_gradient<Tile>(place(), scratch(), feature_gradient(),
                                            tables(n) + kWidthTables * Width, layer.back.adds);
            }
        }
        __syncthreads();
    }
}

}  // namespace digan_fast::cuda
