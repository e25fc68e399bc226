#pragma once

// Passes over the numbers that the backward keeps of a tile, each thread over its own.

#include "mlp/backward_tile.cuh"

namespace digan_fast::cuda {

// What a layer makes of the products kept, times and plus the numbers `next` [2][Width]: into the
// tile, or in float32 into `scratch` if there is one.
template <class Tile>
__device__ __forceinline__ void make_inputs(const MlpPlace<Tile>& place,
                                            const Activations<Tile>& tile, float* numbers,
                                            float* scratch, const float* tables,
                                            Activation activation, const float* next) {
    constexpr int kElements = Tile::kElements;
    const Kept<Tile> kept(numbers), made(scratch);
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
        const int column = Tile::column(place.warp, group, place.lane);
        const ColumnTables<Tile> own{tables + column};
        float gamma[kElements], beta[kElements], scale[kElements], shift[kElements];
        own.load(kScale, gamma);
        own.load(kShift, beta);
        load_run(next + column, 4, scale);
        load_run(next + Tile::kWidth + column, 4, shift);
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            float values[kElements];
            kept.load(group, row, values);
#pragma unroll
            for (int e = 0; e < kElements; ++e) values[e] = fmaf(values[e], gamma[e], beta[e]);
            activate_all(values, activation);
#pragma unroll
            for (int e = 0; e < kElements; ++e) values[e] = fmaf(values[e], scale[e], shift[e]);
            if (scratch)
                made.store(group, row, values);
            else
                tile.write(8 * row + place.lane / 4, column / kElements,
                           packed<typename Tile::Dtype>(values));
        }
    }
}

// Of du, the gradient by a layer's inputs s∘y + t: Σ du·y into `scale` and Σ du into `shift`
// [Width], where y is what the layer of `tables` and `activation` made of the products kept.
template <class Tile>
__device__ __forceinline__ void sum_input_gradients(const MlpPlace<Tile>& place, float* gradient,
                                                    float* numbers, const float* tables,
                                                    Activation activation, float* scale,
                                                    float* shift) {
    constexpr int kElements = Tile::kElements;
    const Kept<Tile> kept(numbers), du(gradient);
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
        const int column = Tile::column(place.warp, group, place.lane);
        const ColumnTables<Tile> own{tables + column};
        float gamma[kElements], beta[kElements], totals[kElements] = {}, plain[kElements] = {};
        own.load(kScale, gamma);
        own.load(kShift, beta);
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            float y[kElements], by[kElements];
            kept.load(group, row, y);
            du.load(group, row, by);
#pragma unroll
            for (int e = 0; e < kElements; ++e) y[e] = fmaf(y[e], gamma[e], beta[e]);
            activate_all(y, activation);
#pragma unroll
            for (int e = 0; e < kElements; ++e) {
                totals[e] = fmaf(by[e], y[e], totals[e]);
                plain[e] += by[e];
            }
        }
        store_column_sums(totals, scale + column, place.lane);
        store_column_sums(plain, shift + column, place.lane);
    }
}

// From the gradient by y = act(γ∘product + β), which is that in `gradient` times `input_scale`
// (null: 1) plus `more` (null: 0), to that by the product: into the tile, or back to `gradient` if
// the layer reads coordinates. Sums for γ, β and biases go into `to`.
template <class Tile>
__device__ __forceinline__ void differentiate(const MlpPlace<Tile>& place,
                                              const Activations<Tile>& tile, float* gradient,
                                              float* numbers, float* more, const float* tables,
                                              const MlpLayer& layer, const float* input_scale,
                                              float* to) {
    constexpr int kElements = Tile::kElements;
    const Kept<Tile> kept(numbers), by(gradient), added(more);
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
        const int column = Tile::column(place.warp, group, place.lane);
        const ColumnTables<Tile> own{tables + column};
        float shift[kElements] = {}, scale[kElements] = {};
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            float products[kElements], dz[kElements], slope[kElements], gamma[kElements];
            __syncwarp();  // tables are read again for each row: registers are scarce
            kept.load(group, row, products);
            own.load(kShift, slope);
            own.load(kScale, gamma);
#pragma unroll
            for (int e = 0; e < kElements; ++e) slope[e] = fmaf(products[e], gamma[e], slope[e]);
            derive_all(slope, layer.activation);
            by.load(group, row, dz);
            if (input_scale) {
                float factor[kElements];
                load_run(input_scale + column, 4, factor);
#pragma unroll
                for (int e = 0; e < kElements; ++e) dz[e] *= factor[e];
            }
            if (more) {
                float values[kElements];
                added.load(group, row, values);
#pragma unroll
                for (int e = 0; e < kElements; ++e) dz[e] += values[e];
            }
#pragma unroll
            for (int e = 0; e < kElements; ++e) {
                dz[e] *= slope[e];
                shift[e] += dz[e];
                scale[e] = fmaf(dz[e], products[e], scale[e]);
                dz[e] *= gamma[e];
            }
            if (layer.dimensions)
                by.store(group, row, dz);
            else
                tile.write(8 * row + place.lane / 4, column / kElements,
                           packed<typename Tile::Dtype>(dz));
        }
        if (layer.back.shift)
            store_column_sums(shift, to + kShiftSum * Tile::kWidth + column, place.lane);
        if (layer.back.scale)
            store_column_sums(scale, to + kScaleSum * Tile::kWidth + column, place.lane);
    }
}

// Adds biases and keeps the products.
template <class Tile>
__device__ __forceinline__ void keep_products(StageSums<Tile>& sums, const MlpPlace<Tile>& place,
                                              float* numbers, const float* tables) {
    visit_sums<Tile>(sums, place, [&](int column, int, int, float& sum) {
        sum += tables[kBias * Tile::kWidth + column];
    });
    Kept<Tile>(numbers).store_sums(sums);
}

// Numbers kept, as operands, into the tile.
template <class Tile>
__device__ __forceinline__ void store_kept(const MlpPlace<Tile>& place,
                                           const Activations<Tile>& tile, float* numbers) {
    const Kept<Tile> kept(numbers);
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group)
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            float values[Tile::kElements];
            kept.load(group, row, values);
            tile.write(8 * row + place.lane / 4,
                       Tile::column(place.warp, group, place.lane) / Tile::kElements,
                       packed<typename Tile::Dtype>(values));
        }
}

// The tile's rows for the GEMM.
template <class Tile>
__device__ __forceinline__ void copy_tile(const Activations<Tile>& tile, unsigned char* rows) {
    for (int task = threadIdx.x; task < Tile::kPixels * Tile::kChunks; task += Tile::kThreads)
        store_global(reinterpret_cast<uint4*>(rows) + task,
                     tile.read(task / Tile::kChunks, task % Tile::kChunks).whole);
}

// The gradient by the network's outputs; zero past the last point and output.
template <class Tile>
__device__ __forceinline__ void load_gradient(const MlpBackwardParams& p,
                                              const MlpPlace<Tile>& place, float* gradient,
                                              int outputs) {
    const Kept<Tile> kept(gradient);
    for (int group = 0; group < Tile::kGroups; ++group) {
        const int column = Tile::column(place.warp, group, place.lane);
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            const std::int64_t point = place.first + 8 * row + place.lane / 4;
            const float* const from =
                p.grad + (place.sample * p.forward.points + point) * outputs + column;
            float values[Tile::kElements];
#pragma unroll
            for (int e = 0; e < Tile::kElements; ++e)
                values[e] = point < p.forward.points && column + e < outputs ? from[e] : 0.0f;
            kept.store(group, row, values);
        }
    }
}

// du of encoded coordinates times s, into `features`, or added to what is there.
template <class Tile>
__device__ __forceinline__ void keep_feature_gradient(const MlpPlace<Tile>& place, float* gradient,
                                                      float* features, const float* input_scale,
                                                      bool adds) {
    constexpr int kElements = Tile::kElements;
    const Kept<Tile> kept(features), du(gradient);
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
        float factor[kElements];
        load_run(input_scale + Tile::column(place.warp, group, place.lane), 4, factor);
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            float all[kElements] = {}, values[kElements];
            if (adds) kept.load(group, row, all);
            du.load(group, row, values);
#pragma unroll
            for (int e = 0; e < kElements; ++e) all[e] = fmaf(values[e], factor[e], all[e]);
            kept.store(group, row, all);
        }
    }
}

}  // namespace digan_fast::cuda
