#include "gemm/pack_weights_kernel.h"

#include <algorithm>

#include "gemm/loops-inl.h"
#include "runtime/scratch.h"
#include "simd/int8x4-inl.h"
#include "simd/quantise-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

static_assert(kPackTaskRows % kMR == 0 && kPackTaskRows % kMostRows<Int8x4> == 0,
              "a task of packing begins a panel");

// Packs rows [first, last) into panels; element(r, k) is element k of row r.
template <class T, class Element>
void pack(T* panels, int64_t first, int64_t last, int64_t depth, const Element& element) {
    for_each_panel<T>(last - first, [&](auto mr, int64_t row) {
        constexpr int R = decltype(mr)::value;
        for (int64_t k = 0; k < depth; ++k)
            for (int r = 0; r < R; ++r)
                panels[panel_index<R>(depth, k, r)] = element(first + row + r, k);
        panels += R * depth;
    });
}

// Rows in panels of elements T, before they are rotated.
template <class T, class Weight>
void pack_unrotated(const LayerPacking& p, const Weight& weight) {
    float* panels = panel_at<float>(p.layer.panels, p.first, p.layer.depth);
    for_each_panel<T>(p.last - p.first, [&](auto mr, int64_t row) {
        constexpr int R = decltype(mr)::value;
        for (int64_t k = 0; k < p.layer.depth; ++k)
            for (int r = 0; r < R; ++r)
                panels[unrotated_index<R>(p.layer.depth, k, r)] = weight(p.first + row + r, k);
        panels += R * p.layer.depth;
    });
}

inline int64_t column(const LayerPacking& p, int64_t k) {
    return p.sinusoids ? k / 2 + (k & 1) * p.sinusoids : k;
}

// For each row q = round(w·127/max|w|), its scale max|w|/127 and its sum. A row that is not finite
// has the scale NaN, so its outputs are NaN.
void pack_int8(const LayerPacking& p) {
    const int64_t depth = 4 * p.layer.depth;
    Scratch rows, row_memory;
    const auto quantised = reinterpret_cast<int8_t*>(rows.reserve((p.last - p.first) * depth / 4));
    float* const weight = row_memory.reserve(depth);  // one row, in packed order
    for (int64_t k = 0; k < depth; ++k) weight[k] = 0;
    for (int64_t row = p.first; row < p.last; ++row) {
        const float* const from = p.weight + row * p.row_stride;
        for (int64_t k = 0; k < p.inputs; ++k) weight[k] = from[column(p, k)] * p.scale;
        int32_t largest_bits = 0;  // magnitudes are ordered as their bits are
        float finite = 0;
#pragma omp simd reduction(max : largest_bits) reduction(+ : finite)
        for (int64_t k = 0; k < depth; ++k) {
            const float size = fabsf(weight[k]);
            int32_t bits;
            memcpy(&bits, &size, sizeof bits);
            largest_bits = bits > largest_bits ? bits : largest_bits;
            finite += weight[k] * 0;
        }
        float largest;
        memcpy(&largest, &largest_bits, sizeof largest);
        const float scale = kWeightLevels / std::max(largest, kSmallestRange);
        int8_t* const q = quantised + (row - p.first) * depth;
        int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t k = 0; k < depth; ++k) {
            q[k] = static_cast<int8_t>(rounded_bits(weight[k] * scale));
            sum += q[k];
        }
        p.layer.scales[row] = std::max(largest, kSmallestRange) / kWeightLevels + finite;
        p.layer.sums[row] = sum;
    }
    pack(panel_at<Int8x4>(p.layer.panels, p.first, p.layer.depth), p.first, p.last, p.layer.depth,
         [&](int64_t row, int64_t k) {
             Int8x4 quad;
             memcpy(&quad, quantised + (row - p.first) * depth + 4 * k, sizeof quad);
             return quad;
         });
}

}  // namespace

void layer_traits(const LayerTraitsQuery& p) {
    const auto of = [&]<class T>(StoredAs<T>) {
        *p.traits = {.pack = kPack<T>,
                     .group_blocks = kMostRows<T> > kMR ? kAmxGroupBlocks : kGroupBlocks};
    };
    if (p.precision == Precision::int8) return of(StoredAs<Int8x4>{});
    if (p.precision == Precision::bfloat16) return of(StoredAs<Bfloat16Element>{});
    of(StoredAs<float>{});
}

void pack_layer(const LayerPacking& p) {
    const auto weight = [&](int64_t row, int64_t k) {
        return k < p.inputs ? p.weight[row * p.row_stride + column(p, k)] * p.scale : 0.0f;
    };
    if (p.bias) {
        for (int64_t row = p.first; row < p.last; ++row) p.layer.bias[row] = p.bias[row] * p.scale;
    }
    if (p.precision == Precision::int8) return pack_int8(p);
    if (p.unrotated && p.precision == Precision::bfloat16)
        return pack_unrotated<Bfloat16Element>(p, weight);
    if (p.precision == Precision::bfloat16) {
        return pack(panel_at<Bfloat16Element>(p.layer.panels, p.first, p.layer.depth), p.first,
                    p.last, p.layer.depth, [&](int64_t row, int64_t k) {
                        return bfloat16_element(
                            k, [&](int64_t column) { return weight(row, column); });
                    });
    }
    pack(panel_at<float>(p.layer.panels, p.first, p.layer.depth), p.first, p.last, p.layer.depth,
         weight);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
