#pragma once

// Sums over columns, one for each point, and back: the backward of coordinates, and of a last layer
// that is a sum over the tile.

#include "mlp/backward_passes.cuh"

namespace digan_fast::cuda {

// Rows of tables that a pass over a tile's numbers takes at once.
constexpr int kAtOnce = 4;

// Each point's Σ of numbers times `weight` [count][Width], over a warp's columns, into `partial`
// [count][warp][pixel].
template <class Tile>
__device__ __forceinline__ void sum_kept_columns(const MlpPlace<Tile>& place, float* numbers,
                                                 const float* weight, int count, float* partial) {
    constexpr int kElements = Tile::kElements;
    const Kept<Tile> kept(numbers);
#pragma unroll 1
    for (int row = 0; row < Kept<Tile>::kRows; ++row) {
        float found[kAtOnce] = {};
#pragma unroll 1
        for (int group = 0; group < Tile::kGroups; ++group) {
            float values[kElements];
            kept.load(group, row, values);
            const float* const from = weight + Tile::column(place.warp, group, place.lane);
#pragma unroll
            for (int k = 0; k < kAtOnce; ++k) {
                if (k >= count) break;
                float factors[kElements];
                load_run(from + k * Tile::kWidth, 4, factors);
#pragma unroll
                for (int e = 0; e < kElements; ++e)
                    found[k] = fmaf(values[e], factors[e], found[k]);
            }
        }
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
            found[k] += __shfl_xor_sync(0xFFFFFFFFu, found[k], 1);
            found[k] += __shfl_xor_sync(0xFFFFFFFFu, found[k], 2);
            if (place.lane % 4 == 0 && k < count)
                partial[(k * Tile::kWarps + place.warp) * Tile::kPixels + 8 * row +
                        place.lane / 4] = found[k];
        }
    }
}

// Each column's Σ of numbers times factor(k, pixel) over the tile's points, into `to`
// [count][Width].
template <class Tile, class Factor>
__device__ __forceinline__ void store_weighted_sums(const MlpPlace<Tile>& place, float* numbers,
                                                    float* to, int count, Factor&& factor) {
    constexpr int kElements = Tile::kElements;
    const Kept<Tile> kept(numbers);
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
        float totals[kAtOnce][kElements] = {};
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            float values[kElements];
            kept.load(group, row, values);
#pragma unroll
            for (int k = 0; k < kAtOnce; ++k) {
                if (k >= count) break;
                const float by = factor(k, 8 * row + place.lane / 4);
#pragma unroll
                for (int e = 0; e < kElements; ++e)
                    totals[k][e] = fmaf(values[e], by, totals[k][e]);
            }
        }
        float* const own = to + Tile::column(place.warp, group, place.lane);
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k)
            if (k < count) store_column_sums(totals[k], own + k * Tile::kWidth, place.lane);
    }
}

// A sum over a warp's lanes, in every one of them.
__device__ __forceinline__ float over_lanes(float sum) {
#pragma unroll
    for (int mask = 1; mask < 32; mask *= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, mask);
    return sum;
}

// A row's sum over the tile's pixels.
template <class Tile>
__device__ __forceinline__ float over_pixels(const float* row, int lane) {
    float sum = 0.0f;
    for (int pixel = lane; pixel < Tile::kPixels; pixel += 32) sum += row[pixel];
    return over_lanes(sum);
}

// Rows [pixel] in the shared memory of the tile: sums by warps, pairs of products, and the
// gradients by a last layer's products where that is a sum over the tile.
template <class Tile>
struct PixelRows {
    float* first;

    // Of all warps, what they found for the k-th.
    __device__ __forceinline__ float found(int k, int pixel) const {
        return over_warps<Tile>(first + k * Tile::kWarps * Tile::kPixels, pixel);
    }
    __device__ __forceinline__ float* product(int k, int which) const {
        return first + (kAtOnce * Tile::kWarps + 2 * k + which) * Tile::kPixels;
    }
    __device__ __forceinline__ float* few(int o) const {
        return first + (kAtOnce * (Tile::kWarps + 2) + o) * Tile::kPixels;
    }
};

// visit(k, pixel) for `count` rows, each by one thread.
template <class Tile, class Visit>
__device__ __forceinline__ void visit_pixels(int count, Visit&& visit) {
    for (int task = threadIdx.x; task < count * Tile::kPixels; task += Tile::kThreads)
        visit(task / Tile::kPixels, task % Tile::kPixels);
}

// The gradients by `count` coordinates from `first` on, of du(k, pixel) = W_kᵀ·(gradient by the
// product).
template <class Tile, class Du>
__device__ __forceinline__ void add_coordinate_gradients(const MlpBackwardParams& p,
                                                         const MlpPlace<Tile>& place,
                                                         const PixelRows<Tile>& rows,
                                                         const MlpLayer& layer, const float* tables,
                                                         float* to, int first, int count, Du&& du) {
    const MlpParams& q = p.forward;
    const float* const scale = tables + kWidthTables * Tile::kWidth + first;
    visit_pixels<Tile>(count, [&](int k, int pixel) {
        const float gradient = du(k, pixel);
        rows.product(k, 0)[pixel] = gradient * place.coordinates(q, pixel)[first + k];
        rows.product(k, 1)[pixel] = gradient;
        const std::int64_t point = place.first + pixel;
        if (!p.dcoordinates || point >= q.points) return;
        float& all = p.dcoordinates[(place.sample * q.points + point) * q.dimensions + first + k];
        all = fmaf(gradient, scale[k], layer.back.adds && !p.encoded ? all : 0.0f);
    });
    if (!layer.back.input) return;
    __syncthreads();
    for (int row = place.warp; row < 2 * count; row += Tile::kWarps) {
        const float sum = over_pixels<Tile>(rows.product(row / 2, row % 2), place.lane);
        if (place.lane == 0)
            to[kSumTables * Tile::kWidth + row % 2 * layer.extra + first + row / 2] = sum;
    }
}

// What the gradient by the product, which is kept, is for the coordinates that the layer reads.
template <class Tile>
__device__ __forceinline__ void differentiate_coordinates(const MlpBackwardParams& p,
                                                          const MlpPlace<Tile>& place,
                                                          const PixelRows<Tile>& rows,
                                                          float* gradient, const MlpLayer& layer,
                                                          const float* tables, float* to) {
    constexpr int kWidth = Tile::kWidth;
    const float* const extra = tables + kWidthTables * kWidth;
    for (int first = 0; first < layer.dimensions; first += kAtOnce) {
        const int count = min(layer.dimensions - first, kAtOnce);
        if (layer.back.weight)
            store_weighted_sums<Tile>(
                place, gradient, to + (kSumTables + first) * kWidth + 2 * layer.extra, count,
                [&](int k, int pixel) {
                    const float x = place.coordinates(p.forward, pixel)[first + k];
                    return fmaf(x, extra[first + k], extra[layer.extra + first + k]);
                });
        if (!p.dcoordinates && !layer.back.input) continue;
        __syncthreads();
        sum_kept_columns<Tile>(place, gradient, extra + 2 * layer.extra + first * kWidth, count,
                               rows.first);
        __syncthreads();
        add_coordinate_gradients<Tile>(p, place, rows, layer, tables, to, first, count,
                                       [&](int k, int pixel) { return rows.found(k, pixel); });
    }
}

// The gradients by the products of a last layer that is a sum over the tile, into rows.few, and
// their sums over the tile.
template <class Tile>
__device__ __forceinline__ void differentiate_few_products(const MlpBackwardParams& p,
                                                           const MlpPlace<Tile>& place,
                                                           const PixelRows<Tile>& rows,
                                                           float* inputs, const MlpLayer& layer,
                                                           const float* tables, float* to) {
    constexpr int kWidth = Tile::kWidth;
    const MlpParams& q = p.forward;
    for (int first = 0; first < layer.outputs; first += kAtOnce) {
        const int count = min(layer.outputs - first, kAtOnce);
        sum_kept_columns<Tile>(place, inputs, few_weights<Tile>(tables, layer) + first * kWidth,
                               count, rows.first);
        __syncthreads();
        visit_pixels<Tile>(count, [&](int k, int pixel) {
            const int o = first + k;
            const float product = few_product<Tile>(rows.found(k, pixel),
                                                    place.coordinates(q, pixel), layer, tables, o);
            const float z = fmaf(product, tables[kScale * kWidth + o], tables[kShift * kWidth + o]);
            const std::int64_t point = place.first + pixel;
            float dz = 0.0f;
            if (point < q.points)
                dz = p.grad[(place.sample * q.points + point) * layer.outputs + o] *
                     mlp_derivative(z, layer.activation);
            rows.few(o)[pixel] = dz;
            rows.product(k, 0)[pixel] = dz * product;
        });
        __syncthreads();
        for (int k = place.warp; k < count; k += Tile::kWarps) {
            const int o = first + k;
            const float shift = over_pixels<Tile>(rows.few(o), place.lane);
            const float scale = over_pixels<Tile>(rows.product(k, 0), place.lane);
            if (place.lane == 0) {
                to[kShiftSum * kWidth + o] = shift;
                to[kScaleSum * kWidth + o] = scale;
            }
            for (int pixel = place.lane; pixel < Tile::kPixels; pixel += 32)
                rows.few(o)[pixel] *= tables[kScale * kWidth + o];
        }
    }
    __syncthreads();
}

// A last layer that is a sum over the tile, whose inputs are kept and become the gradient by them.
template <class Tile>
__device__ __forceinline__ void differentiate_few(const MlpBackwardParams& p,
                                                  const MlpPlace<Tile>& place,
                                                  const PixelRows<Tile>& rows, float* inputs,
                                                  const MlpLayer& layer, const float* tables,
                                                  float* to) {
    constexpr int kWidth = Tile::kWidth, kElements = Tile::kElements;
    differentiate_few_products<Tile>(p, place, rows, inputs, layer, tables, to);
    const float* const extra = tables + kWidthTables * kWidth;
    float* const of_coordinates = to + kSumTables * kWidth + 2 * layer.extra;
    for (int first = 0; first < layer.dimensions; first += kAtOnce) {
        const int count = min(layer.dimensions - first, kAtOnce);
        for (int task = place.warp; task < count * layer.outputs; task += Tile::kWarps) {
            const int d = first + task / layer.outputs, o = task % layer.outputs;
            float total = 0.0f;
            for (int pixel = place.lane; pixel < Tile::kPixels; pixel += 32)
                total = fmaf(
                    rows.few(o)[pixel],
                    fmaf(place.coordinates(p.forward, pixel)[d], extra[d], extra[layer.extra + d]),
                    total);
            total = over_lanes(total);
            if (place.lane == 0) of_coordinates[d * kWidth + o] = total;
        }
        if (!p.dcoordinates && !layer.back.input) continue;
        __syncthreads();
        add_coordinate_gradients<Tile>(
            p, place, rows, layer, tables, to, first, count, [&](int k, int pixel) {
                float du = 0.0f;
                for (int o = 0; o < layer.outputs; ++o)
                    du = fmaf(rows.few(o)[pixel], extra[2 * layer.extra + (first + k) * kWidth + o],
                              du);
                return du;
            });
    }
    for (int first = 0; layer.back.weight && first < layer.outputs; first += kAtOnce)
        store_weighted_sums<Tile>(place, inputs,
                                  of_coordinates + (layer.dimensions + first) * kWidth,
                                  min(layer.outputs - first, kAtOnce),
                                  [&](int k, int pixel) { return rows.few(first + k)[pixel]; });
    if (!layer.back.inputs) return;
    const Kept<Tile> made(inputs);
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
        const float* const weight =
            few_weights<Tile>(tables, layer) + Tile::column(place.warp, group, place.lane);
#pragma unroll 1
        for (int row = 0; row < Kept<Tile>::kRows; ++row) {
            float values[kElements] = {}, factors[kElements];
            for (int o = 0; o < layer.outputs; ++o) {
                load_run(weight + o * kWidth, 4, factors);
                const float by = rows.few(o)[8 * row + place.lane / 4];
#pragma unroll
                for (int e = 0; e < kElements; ++e) values[e] = fmaf(by, factors[e], values[e]);
            }
            made.store(group, row, values);
        }
    }
}

}  // namespace digan_fast::cuda
