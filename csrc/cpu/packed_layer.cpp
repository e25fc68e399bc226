#include "packed_layer.h"

#include "product.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

#if defined(__AVX512BF16__)
inline Pair packed(float even, float odd) {
    return {bfloat16_bits(odd) << 16 | bfloat16_bits(even)};
}
#endif

// Panels of `count` numbers of a row together, given by element(row, depth, index).
template <class T, class Element>
void pack(T* panels, int64_t first, int64_t last, int64_t depth, const Element& element) {
    panels += first * depth;
    for (int64_t row = first; row < last;) {
        const int rows = panel_rows(last - row);
        for (int64_t k = 0; k < depth; ++k)
            for (int r = 0; r < rows; ++r) *panels++ = element(row + r, k);
        row += rows;
    }
}

inline int64_t column(const PackParams& p, int64_t k) {
    return p.sinusoids ? k / 2 + (k & 1) * p.sinusoids : k;
}

}  // namespace

void pack_layer(const PackParams& p) {
    const auto weight = [&](int64_t row, int64_t k) {
        return k < p.inputs ? p.weight[row * p.row_step + column(p, k)] * p.scale : 0.0f;
    };
    if (p.bias) {
        for (int64_t row = p.first; row < p.last; ++row) p.layer.bias[row] = p.bias[row] * p.scale;
    }
#if defined(__AVX512BF16__)
    if (p.precision == Precision::bfloat16) {
        return pack(reinterpret_cast<Pair*>(p.layer.panels), p.first, p.last, p.layer.depth,
                    [&](int64_t row, int64_t k) {
                        return packed(weight(row, 2 * k), weight(row, 2 * k + 1));
                    });
    }
#endif
    if (p.precision == Precision::bfloat16) {
        return pack(p.layer.panels, p.first, p.last, p.layer.depth,
                    [&](int64_t row, int64_t k) { return to_bfloat16(weight(row, k)); });
    }
    pack(p.layer.panels, p.first, p.last, p.layer.depth, weight);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
