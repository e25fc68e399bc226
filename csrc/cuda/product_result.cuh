#pragma once

// What becomes of a tile's sums.

#include "product_multiply.cuh"
#include "product_waves.cuh"

namespace digan_fast::cuda {

// A block's tile of the output, and the terms that it sums.
struct ProductPlace {
    std::int64_t row, column;  // its first ones; of a column that has a cosine, its sinusoid
    std::int64_t row_tile, row_tiles, batch, part, begin, end;
    int warp, lane;

    // `width` columns in a tile. Blocks of the same rows follow each other.
    __device__ __forceinline__ ProductPlace(const ProductParams& p, int extent, int width) {
        const std::int64_t across = (p.columns + width - 1) / width;
        row_tiles = (p.rows + extent - 1) / extent;
        std::int64_t block = blockIdx.x;
        column = block % across * width;
        block /= across;
        row_tile = block % row_tiles;
        row = row_tile * extent;
        block /= row_tiles;
        batch = block % p.batches;
        part = block / p.batches;
        begin = part * p.part_depth;
        end = min(p.depth, begin + p.part_depth);
        warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
    }
};

// Of the tile's column `local`, how many elements into an output's row; −1: there is none.
template <class Tile>
__device__ __forceinline__ std::int64_t place_of(const ProductParams& p, const ProductPlace& place,
                                                 int local, bool has_cosines) {
    const bool second = has_cosines && local >= Tile::EXTENT / 2;
    const std::int64_t column = place.column + (second ? local - Tile::EXTENT / 2 : local);
    return column < p.columns ? column + (second ? p.columns : 0) : -1;
}

// Two neighbours. The places are of two in a row where outputs go in 8 bytes.
template <class Element_, class Number>
__device__ __forceinline__ void store_two(void* out, std::int64_t row, std::int64_t first,
                                          std::int64_t second, bool vectors, float a, float b) {
    auto* to = static_cast<Element_*>(out) + row;
    if constexpr (sizeof(Element_) == 2) {
        const uint32_t both = Number::pack(a, b);
        if (first >= 0) to[first] = static_cast<uint16_t>(both & 0xFFFFu);
        if (second >= 0) to[second] = static_cast<uint16_t>(both >> 16);
    } else if (vectors) {
        if (first >= 0) *reinterpret_cast<float2*>(to + first) = {a, b};
    } else {
        if (first >= 0) to[first] = a;
        if (second >= 0) to[second] = b;
    }
}

// A row's values of two neighbouring tiles of 8 columns, by the whole warp. In half precision
// lanes exchange pairs, so that each has four neighbours, and a row's 32 bytes are stored at once.
template <class Tile>
__device__ __forceinline__ void store_row(const ProductParams& p, const ProductPlace& place,
                                          bool exists, std::int64_t row, int local,
                                          bool has_cosines, const float (&values)[4]) {
    using Number = typename Tile::Number;
    const int mine = local + place.lane % 4 * 2;
    if constexpr (Tile::HALF) {
        if (p.vectors && p.result != Result::partial) {
            const bool odd = place.lane & 1;
            const uint32_t low = Number::pack(values[0], values[1]);
            const uint32_t high = Number::pack(values[2], values[3]);
            const uint32_t theirs =
                __float_as_uint(__shfl_xor_sync(0xFFFFFFFFu, __uint_as_float(odd ? low : high), 1));
            const std::int64_t at = place_of<Tile>(p, place, odd ? mine + 6 : mine, has_cosines);
            if (exists && at >= 0)
                *reinterpret_cast<uint2*>(static_cast<uint16_t*>(p.out) + row + at) = {
                    odd ? theirs : low, odd ? high : theirs};
            return;
        }
    }
    if (!exists) return;
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
        const std::int64_t first = place_of<Tile>(p, place, mine + 8 * tile, has_cosines);
        const std::int64_t second = place_of<Tile>(p, place, mine + 8 * tile + 1, has_cosines);
        if (p.result == Result::partial)
            store_two<float, Number>(p.out, row, first, second, p.vectors, values[2 * tile],
                                     values[2 * tile + 1]);
        else
            store_two<typename Tile::Element, Number>(p.out, row, first, second, p.vectors,
                                                      values[2 * tile], values[2 * tile + 1]);
    }
}

template <class Tile>
__device__ __forceinline__ float widened(const void* data, std::int64_t at) {
    const auto element = static_cast<const typename Tile::Element*>(data)[at];
    if constexpr (Tile::HALF)
        return Tile::Number::first(element);
    else
        return element;
}

template <class Tile, bool WAVES>
__device__ __forceinline__ void store_sums(ProductSums<Tile>& sums, const ProductParams& p,
                                           const ProductPlace& place) {
    const bool is_sum = p.result == Result::plain || p.result == Result::partial;
    const bool has_cosines = WAVES && is_sum;
    const std::int64_t columns = has_cosines ? 2 * p.columns : p.columns;
    const std::int64_t entry = place.part * p.batches + place.batch;
    const float* bias = p.bias ? p.bias + place.batch * p.bias_batch : nullptr;
    const float limit = [&] {
        if constexpr (Tile::HALF) return rounded<typename Tile::Number>(p.finish.clamp);
        return p.finish.clamp;
    }();
#pragma unroll
    for (int i = 0; i < 2 * Tile::ROW_TILES; ++i) {
        const std::int64_t row = place.row + Tile::row(place.warp) + 8 * i + place.lane / 4;
        const bool exists = row < p.rows;
        const std::int64_t at = (entry * p.rows + row) * columns;
        std::int64_t parent = -1;
        if constexpr (WAVES) {
            const Waves& waves = p.waves;
            if (waves.base && exists && !is_sum)
                parent = (place.batch * waves.base_height * waves.base_width +
                          Pixel(waves, row).parent(waves)) *
                         columns;
        }
#pragma unroll
        for (int j = 0; j < Tile::COLUMN_TILES; j += 2) {
            const int local = Tile::column(place.warp, j);
            float values[4];
#pragma unroll
            for (int v = 0; v < 4; ++v) {
                const std::int64_t column =
                    place.column + local + v / 2 * 8 + place.lane % 4 * 2 + v % 2;
                float value = sums[i / 2][j + v / 2][i % 2 * 2 + v % 2];
                if (!is_sum) {
                    const bool inside = exists && column < p.columns;
                    if (bias && inside) value += bias[column];
                    if (WAVES && parent >= 0 && inside)
                        value += widened<Tile>(p.waves.base, parent + column);
                    if (!WAVES && p.result == Result::gradient) {
                        const float grad = inside ? widened<Tile>(p.grad, at + column) : 0.0f;
                        const float saved = inside ? widened<Tile>(p.saved, at + column) : 0.0f;
                        value = fabsf(saved) < limit ? grad * p.finish.slope(value) : 0.0f;
                    } else {
                        value = p.finish(value);
                    }
                }
                values[v] = value;
            }
            store_row<Tile>(p, place, exists, at, local, has_cosines, values);
        }
    }
}

// dθ = (Σ by sin θ)·cos θ − (Σ by cos θ)·sin θ, summed over the tile's pixels.
template <class Tile>
__device__ __forceinline__ void store_theta(ProductSums<Tile>& sums, const ProductParams& p,
                                            const ProductPlace& place, float* room) {
    constexpr int HALF = Tile::EXTENT / 2, ROWS = Tile::WARPS / 2;
    float totals[3][Tile::COLUMN_TILES / 2][2] = {};
#pragma unroll
    for (int i = 0; i < 2 * Tile::ROW_TILES; ++i) {
        const std::int64_t row = place.row + Tile::row(place.warp) + 8 * i + place.lane / 4;
        const Pixel pixel(p.waves, row);
#pragma unroll
        for (int j = 0; j < Tile::COLUMN_TILES / 2; ++j)
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                const std::int64_t k =
                    place.column + Tile::column(place.warp, j) + place.lane % 4 * 2 + n;
                if (row >= p.rows || k >= p.columns) continue;
                float sine, cosine;
                wave_at(p.waves, pixel, place.batch, k, sine, cosine);
                const float by_sine = sums[i / 2][j][i % 2 * 2 + n];
                const float by_cosine = sums[i / 2][j + Tile::COLUMN_TILES / 2][i % 2 * 2 + n];
                const float dtheta = by_sine * cosine - by_cosine * sine;
                totals[0][j][n] += dtheta;
                totals[1][j][n] = fmaf(dtheta, pixel.x, totals[1][j][n]);
                totals[2][j][n] = fmaf(dtheta, pixel.y, totals[2][j][n]);
            }
    }
    // room[warp's row][3][HALF]
#pragma unroll
    for (int kind = 0; kind < 3; ++kind)
#pragma unroll
        for (int j = 0; j < Tile::COLUMN_TILES / 2; ++j)
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                float total = totals[kind][j][n];
#pragma unroll
                for (int mask = 4; mask < 32; mask *= 2)
                    total += __shfl_xor_sync(0xFFFFFFFFu, total, mask);
                const int column = Tile::column(place.warp, j) + place.lane % 4 * 2 + n;
                if (place.lane < 4) room[(place.warp / 2 * 3 + kind) * HALF + column] = total;
            }
    __syncthreads();
    const int kind = threadIdx.x / HALF, column = threadIdx.x % HALF;
    if (kind >= 3 || place.column + column >= p.columns) return;
    float total = 0.0f;
#pragma unroll
    for (int warp = 0; warp < ROWS; ++warp) total += room[(warp * 3 + kind) * HALF + column];
    const std::int64_t at =
        ((place.batch * place.row_tiles + place.row_tile) * 3 + kind) * p.columns;
    static_cast<float*>(p.out)[at + place.column + column] = total;
}

}  // namespace digan_fast::cuda
