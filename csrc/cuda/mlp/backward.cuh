#pragma once

// The backward of coordinate MLPs: a block takes a tile of one sample's points through all layers
// and back. Of the forward it keeps products, which its threads read again themselves; the operands
// of weights' gradients are left for the GEMM, and sums over the tile for a pass over tiles.

#include "mlp/kernel.cuh"

namespace digan_fast::cuda {

// The forward's tile with at most 64 points, and 48 at 512 channels in half precision: of more,
// sums and what else is alive spill.
template <class Dtype, int Width>
struct BackwardTile : StageTile<Dtype, Width> {
    using Stage = StageTile<Dtype, Width>;
    static constexpr int kPixels = Width >= 512 ? (Stage::kHalf ? 48 : 32) : 64;
    static constexpr int kRowTiles = kPixels / 16;
    static constexpr int kActivationBytes = kPixels * Stage::kChunks * 16;
    // Whether layers may read encoded coordinates again.
    static constexpr bool kReadsFeatures = !(Stage::kHalf && Width >= 512);
};

// act'(z).
__device__ __forceinline__ float mlp_derivative(float z, Activation activation) {
    return activation == kGauss ? -z * expf(-0.5f * z * z) : derivative(z, activation, kSlope);
}

// act of neighbouring sums; the branch is one for all of them. Eight at a time would take more than
// 128 registers.
template <int Count>
__device__ __forceinline__ void activate_all(float (&values)[Count], Activation activation) {
    const auto apply = [&](auto act) {
#pragma unroll
        for (int e = 0; e < Count; ++e) {
            values[e] = mlp_activated(values[e], act());
            if (e % 4 == 3) __syncwarp();
        }
    };
    switch (activation) {
        case Activation::linear:
            break;
        case Activation::sine:
            return apply([] { return Activation::sine; });
        default:
            apply([activation] { return activation; });
    }
}

template <int Count>
__device__ __forceinline__ void derive_all(float (&values)[Count], Activation activation) {
    const auto apply = [&](auto act) {
#pragma unroll
        for (int e = 0; e < Count; ++e) {
            values[e] = mlp_derivative(values[e], act());
            if (e % 4 == 3) __syncwarp();
        }
    };
    switch (activation) {
        case Activation::sine:
            return apply([] { return Activation::sine; });
        default:
            apply([activation] { return activation; });
    }
}

// Neighbouring numbers of a table, or of row `row` of a thread's eighths of a tile: floats in
// sixteen bytes each.
template <int Count>
__device__ __forceinline__ void load_run(const float* from, std::int64_t stride,
                                         float (&values)[Count]) {
#pragma unroll
    for (int q = 0; q < Count / 4; ++q) {
        const float4 four = *reinterpret_cast<const float4*>(from + q * stride);
        values[4 * q] = four.x;
        values[4 * q + 1] = four.y;
        values[4 * q + 2] = four.z;
        values[4 * q + 3] = four.w;
    }
}

// A tile's numbers in global memory, in the order of the threads' sums: each reads what it wrote.
// A thread has kElements columns of a group in rows 0 … kRows − 1, at pixels 8·row + lane / 4.
template <class Tile>
class Kept {
  public:
    static constexpr int kRows = 2 * Tile::kRowTiles;
    using Values = float[Tile::kElements];

    explicit __device__ __forceinline__ Kept(float* numbers) : own_(numbers + 4 * threadIdx.x) {}

    __device__ __forceinline__ void load(int group, int row, Values& values) const {
        load_run(at(group, row), kApart, values);
    }
    __device__ __forceinline__ void store(int group, int row, const Values& values) const {
#pragma unroll
        for (int q = 0; q < Tile::kElements / 4; ++q)
            store_global(reinterpret_cast<float4*>(at(group, row) + q * kApart),
                         {values[4 * q], values[4 * q + 1], values[4 * q + 2], values[4 * q + 3]});
    }

    __device__ __forceinline__ void store_sums(StageSums<Tile>& sums) const {
        visit(sums, [&](int group, int row, const auto& sum) {
            Values values;
#pragma unroll
            for (int e = 0; e < Tile::kElements; ++e) values[e] = sum(e);
            store(group, row, values);
        });
    }
    __device__ __forceinline__ void load_sums(StageSums<Tile>& sums) const {
        visit(sums, [&](int group, int row, const auto& sum) {
            Values values;
            load(group, row, values);
#pragma unroll
            for (int e = 0; e < Tile::kElements; ++e) sum(e) = values[e];
        });
    }

  private:
    static constexpr int kApart = kRows * Tile::kThreads * 4;

    __device__ __forceinline__ float* at(int group, int row) const {
        return own_ + group * (Tile::kElements / 4) * kApart + row * Tile::kThreads * 4;
    }

    template <class Visit>
    static __device__ __forceinline__ void visit(StageSums<Tile>& sums, Visit&& each) {
#pragma unroll
        for (int group = 0; group < Tile::kGroups; ++group)
#pragma unroll
            for (int row = 0; row < kRows; ++row)
                each(group, row, [&](int e) -> float& {
                    return sums[row / 2][group * Tile::kGroupTiles + e / 2][2 * (row % 2) + e % 2];
                });
    }

    float* own_;
};

// Adds neighbouring columns' totals over the lanes that share them, and stores them.
template <int Count>
__device__ __forceinline__ void store_column_sums(float (&totals)[Count], float* to, int lane) {
#pragma unroll
    for (int e = 0; e < Count; ++e)
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2)
            totals[e] += __shfl_xor_sync(0xFFFFFFFFu, totals[e], mask);
    if (lane >= 4) return;
#pragma unroll
    for (int q = 0; q < Count / 4; ++q)
        store_global(reinterpret_cast<float4*>(to) + q,
                     {totals[4 * q], totals[4 * q + 1], totals[4 * q + 2], totals[4 * q + 3]});
}

// A layer's columns of a group, as its thread reads their numbers from the tables.
template <class Tile>
struct ColumnTables {
    static constexpr int kElements = Tile::kElements;
    const float* first;

    __device__ __forceinline__ void load(MlpTable table, float (&values)[kElements]) const {
        load_run(first + table * Tile::kWidth, 4, values);
    }
};

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
