#include "gemm/pack_weights_kernel.h"

#include <algorithm>

#include "gemm/loops-inl.h"
#include "runtime/scratch.h"
#include "simd/int8x4-inl.h"
#include "simd/quantise-inl.h"
#include "simd/terms-inl.h"

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

// Rows rounded in float32, each as a whole.
[[maybe_unused]] void pack_rounded(const LayerPacking& p, Number number) {
    const int64_t depth = p.layer.depth;
    Scratch memory;
    float* const rows = memory.reserve((p.last - p.first) * depth);
    for (int64_t row = p.first; row < p.last; ++row) {
        const float* const from = p.weight + row * p.row_stride;
        float* const to = rows + (row - p.first) * depth;
        for (int64_t k = 0; k < depth; ++k) to[k] = k < p.inputs ? from[column(p, k)] * p.scale : 0;
        round_n(number, to, to, depth);
    }
    pack(panel_at<float>(p.layer.panels, p.first, depth), p.first, p.last, depth,
         [&](int64_t row, int64_t k) { return rows[(row - p.first) * depth + k]; });
}

#if DIGAN_FAST_AMX
// The same in bfloat16: a row is rounded as a whole, and then cut into the rows of AMX tiles.
void pack_bfloat16(const LayerPacking& p) {
    const int64_t depth = p.layer.depth;
    Scratch memory;
    float* const wide = memory.reserve(3 * depth);
    auto* const row_pairs = reinterpret_cast<uint32_t*>(wide + 2 * depth);
    Bf16x2* panels = panel_at<Bf16x2>(p.layer.panels, p.first, depth);
    for (int64_t k = p.inputs; k < 2 * depth; ++k) wide[k] = 0;
    for_each_panel<Bf16x2>(p.last - p.first, [&](auto mr, int64_t first) {
        constexpr int R = decltype(mr)::value;
        for (int r = 0; r < R; ++r) {
            const float* const from = p.weight + (p.first + first + r) * p.row_stride;
            for (int64_t k = 0; k < p.inputs; ++k) wide[k] = from[column(p, k)] * p.scale;
#    pragma omp simd
            for (int64_t k = 0; k < depth; ++k)
                row_pairs[k] = bfloat16_bits(wide[2 * k + 1]) << 16 | bfloat16_bits(wide[2 * k]);
            int64_t k = 0;
            for (; kOnAmx<R> && k + kTmmSide <= depth; k += kTmmSide)
                memcpy(panels + panel_index<R>(depth, k, r), row_pairs + k, 4 * kTmmSide);
            for (; k < depth; ++k) panels[panel_index<R>(depth, k, r)] = {row_pairs[k]};
        }
        panels += R * depth;
    });
}

void pack_split(const LayerPacking& p) {
    const int64_t depth = p.layer.depth;
    auto* const panel = panel_at<Bf16x2>(p.layer.panels, 0, depth);
    for (int64_t k = 0; k < kSplitRows * depth; ++k) panel[k] = {0};
    for (int64_t row = 0; row < kSplitRows; ++row)
        p.layer.bias[row] = p.bias && row < p.last ? p.bias[row] * p.scale : 0.0f;
    for (int64_t output = 0; output < p.last; ++output) {
        for (int64_t k = 0; k < p.inputs; ++k) {
            float rest = p.weight[output * p.row_stride + k] * p.scale;
            for (int64_t term = 0; term < kTerms; ++term) {
                const uint32_t bits = bfloat16_bits(rest);
                rest -= to_bfloat16(rest);
                const int64_t row = kSplitOutputs * term + output;
                panel[panel_index<kSplitRows>(depth, k / 2, row)].bits |= bits << 16 * (k & 1);
            }
        }
    }
}

// Rows [first, last), then rows of zeros, in panels of 32 rows: for each step of 32 inputs the
// tiles of each term.
void pack_terms(const LayerPacking& p) {
    constexpr int64_t rows = 2 * kTmmSide, inputs = 2 * kTmmSide;
    const int64_t steps = (p.inputs + inputs - 1) / inputs;
    Scratch memory;
    float* const wide = memory.reserve(steps * inputs);
    for (int64_t k = p.inputs; k < steps * inputs; ++k) wide[k] = 0;
    for (int64_t row = p.first; row < (p.last + rows - 1) / rows * rows; ++row) {
        const float* const from = p.weight + row * p.row_stride;
        for (int64_t k = 0; k < p.inputs; ++k) wide[k] = row < p.last ? from[k] * p.scale : 0.0f;
        Bf16x2* to = panel_at<Bf16x2>(p.layer.panels, row / rows * rows, p.layer.depth) +
                     row % rows * kTmmSide;
        for (int64_t k = 0; k < steps * inputs; k += inputs, to += kStepElements)
            store_row_terms(to, 2 * kTmmElements, wide + k);
    }
}
#else
void pack_split(const LayerPacking&) {}
void pack_terms(const LayerPacking&) {}

void pack_bfloat16(const LayerPacking& p) {
    using T = Bfloat16Element;
    if constexpr (kRoundsBfloat16) return pack_rounded(p, Number::bfloat16);
    const auto weight = [&](int64_t row, int64_t k) {
        return k < p.inputs ? p.weight[row * p.row_stride + column(p, k)] * p.scale : 0.0f;
    };
    pack(panel_at<T>(p.layer.panels, p.first, p.layer.depth), p.first, p.last, p.layer.depth,
         [&](int64_t row, int64_t k) {
             return bfloat16_element(k, [&](int64_t at) { return weight(row, at); });
         });
}
#endif

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
                     .group_blocks = kMostRows<T> > kMR ? kAmxGroupBlocks : kGroupBlocks,
                     .terms = kMostRows<T> > kMR && kPack<T> == 2};
    };
    if (p.precision == Precision::int8) return of(StoredAs<Int8x4>{});
    if (p.precision == Precision::bfloat16) return of(StoredAs<Bfloat16Element>{});
    of(StoredAs<float>{});
}

void pack_layer(const LayerPacking& p) {
    const auto weight = [&](int64_t row, int64_t k) {
        return k < p.inputs ? p.weight[row * p.row_stride + column(p, k)] * p.scale : 0.0f;
    };
    if (p.layer.split) return pack_split(p);
    if (p.bias) {
        for (int64_t row = p.first; row < p.last; ++row) p.layer.bias[row] = p.bias[row] * p.scale;
    }
    if (p.layer.terms) return pack_terms(p);
    if (p.precision == Precision::int8) return pack_int8(p);
    if (p.unrotated && p.precision == Precision::bfloat16)
        return pack_unrotated<Bfloat16Element>(p, weight);
    if (p.precision == Precision::bfloat16) return pack_bfloat16(p);
    if (p.precision == Precision::float16) return pack_rounded(p, Number::float16);
    pack(panel_at<float>(p.layer.panels, p.first, p.layer.depth), p.first, p.last, p.layer.depth,
         weight);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
