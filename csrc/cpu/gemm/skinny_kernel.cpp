#include "gemm/skinny_kernel.h"

#include "gemm/pack_rows-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// The sum of the lanes, as a pairwise tree.
DIGAN_FAST_INLINE float total(Vec a) {
    float lanes[Vec::width];
    store(lanes, a);
    for (int half = Vec::width / 2; half; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

// The loops of gemm/loops-inl.h do not fit: they keep columns in lanes, from panels; here the terms
// of a sum are in the lanes, so that both matrices are read as they lie, each element once.

// call(Constant<M>, row) for all rows, kSkinnyMR at once and the last ones one at a time.
template <class Call>
DIGAN_FAST_INLINE void by_many(int64_t rows, const Call& call) {
    int64_t row = 0;
    for (; row + kSkinnyMR <= rows; row += kSkinnyMR) call(Constant<kSkinnyMR>{}, row);
    for (; row < rows; ++row) call(Constant<1>{}, row);
}

// call(Constant<S>, s) for all of the few rows, kSkinnyNR at once.
template <class Call>
DIGAN_FAST_INLINE void by_few(int64_t rows, const Call& call) {
    for (int64_t s = 0; s < rows; s += kSkinnyNR) {
        switch (rows - s) {
            case 1:
                call(Constant<1>{}, s);
                break;
            case 2:
                call(Constant<2>{}, s);
                break;
            case 3:
                call(Constant<3>{}, s);
                break;
            default:
                call(Constant<kSkinnyNR>{}, s);
        }
    }
}

// z[s · kSkinnyStripRows + m] = Σ_d many[m][d] · few[s][d]
// call(Constant<S>) for more than kSkinnyNR rows, all at once.
template <class Call>
DIGAN_FAST_INLINE void with_all(int64_t rows, const Call& call) {
    switch (rows) {
        case 5:
            return call(Constant<5>{});
        case 6:
            return call(Constant<6>{});
        case 7:
            return call(Constant<7>{});
        default:
            return call(Constant<kSkinnyLimit>{});
    }
}

template <int M, int S, class Many, class Few>
DIGAN_FAST_INLINE void dots(const Many* many, const Few* few, int64_t depth, float* z) {
    Vec sums[M][S];
    for (auto& row : sums)
        for (Vec& sum : row) sum = broadcast(0.0f);
    for (int64_t d = 0; d < depth; d += Vec::width) {
        Vec a[S];
        for (int s = 0; s < S; ++s) a[s] = load_some(few + s * depth + d, depth - d);
        for (int m = 0; m < M; ++m) {
            const Vec b = load_some(many + m * depth + d, depth - d);
            prefetch(many + (M + m) * depth + d);
            for (int s = 0; s < S; ++s) sums[m][s] = fma(b, a[s], sums[m][s]);
        }
    }
    for (int m = 0; m < M; ++m)
        for (int s = 0; s < S; ++s) z[s * kSkinnyStripRows + m] = total(sums[m][s]);
}

template <int M, int S, class Many, class Few>
DIGAN_FAST_INLINE void gradients(const SkinnyGradient& p, int64_t row, int64_t first) {
    const int64_t depth = p.depth;
    const Many* const many = static_cast<const Many*>(p.many) + row * depth;
    const Few* const few = static_cast<const Few*>(p.few) + first * depth;
    Many* const dmany = static_cast<Many*>(p.dmany) + row * depth;
    float* const dfew = p.dfew + first * depth;
    Vec dz[M][S];
    for (int m = 0; m < M; ++m)
        for (int s = 0; s < S; ++s)
            dz[m][s] = broadcast(p.dz[(row + m) * p.row_stride + (first + s) * p.few_stride]);
    for (int64_t d = 0; d < depth; d += Vec::width) {
        Vec a[S], sums[S];
        for (int s = 0; s < S; ++s) {
            a[s] = load_some(few + s * depth + d, depth - d);
            sums[s] = load_some(dfew + s * depth + d, depth - d);
        }
        for (int m = 0; m < M; ++m) {
            const Vec b = load_some(many + m * depth + d, depth - d);
            prefetch(many + (M + m) * depth + d);
            Vec sum = first ? load_some(dmany + m * depth + d, depth - d) : broadcast(0.0f);
            for (int s = 0; s < S; ++s) {
                sum = fma(dz[m][s], a[s], sum);
                sums[s] = fma(dz[m][s], b, sums[s]);
            }
            if (p.non_temporal) {
                store_streaming(dmany + m * depth + d, sum);
            } else {
                store_some(dmany + m * depth + d, depth - d, sum);
            }
        }
        for (int s = 0; s < S; ++s) store_some(dfew + s * depth + d, depth - d, sums[s]);
    }
}

// call(StoredAs<Many>{}, StoredAs<Few>{})
template <class Call>
DIGAN_FAST_INLINE void with_both(Number many, Number few, const Call& call) {
    if (many == Number::float32) return call(StoredAs<float>{}, StoredAs<float>{});
    with_stored(few, [&](auto stored) { call(StoredAs<Bfloat16>{}, stored); });
}

template <class Many, class Few>
void gemm(const SkinnyGemm& p) {
    const Epilogue how{.activation = p.activation.activation,
                       .gain = p.activation.gain,
                       .clamp = p.activation.clamp,
                       .round = Number::float32};
    const Many* const many = static_cast<const Many*>(p.many);
    const Few* const few = static_cast<const Few*>(p.few);
    float z[kSkinnyLimit * kSkinnyStripRows];
    by_many(p.rows, [&](auto many_rows, int64_t row) {
        by_few(p.few_rows, [&](auto few_rows, int64_t s) {
            dots<decltype(many_rows)::value, decltype(few_rows)::value>(
                many + row * p.depth, few + s * p.depth, p.depth, z + s * kSkinnyStripRows + row);
        });
    });
    for (int64_t s = 0; s < p.few_rows; ++s) {
        float* const of_row = z + s * kSkinnyStripRows;
        if (p.bias)
            for (int64_t m = 0; m < p.rows; ++m)
                of_row[m] += p.bias[m * p.bias_row_stride + s * p.bias_few_stride];
        for (int64_t m = 0; m < p.rows; m += Vec::width) {
            Tile<1, 1> tile;
            tile.v[0][0] = mul(broadcast(p.scale), load_some(of_row + m, p.rows - m));
            apply_epilogue(tile, how);
            store_some(of_row + m, p.rows - m, tile.v[0][0]);
        }
        Few* const out = static_cast<Few*>(p.out) + s * p.few_stride;
        for (int64_t m = 0; m < p.rows; ++m) out[m * p.row_stride] = narrowed_to<Few>(of_row[m]);
    }
}

template <class Many, class Few>
void gradient(const SkinnyGradient& p) {
    if constexpr (sizeof(Many) == sizeof(Bfloat16)) {
        if (p.few_rows > kSkinnyNR) {
            for (int64_t row = 0; row < p.rows; ++row)
                with_all(p.few_rows, [&](auto few_rows) {
                    gradients<1, decltype(few_rows)::value, Many, Few>(p, row, 0);
                });
            return;
        }
    }
    by_many(p.rows, [&](auto many_rows, int64_t row) {
        by_few(p.few_rows, [&](auto few_rows, int64_t s) {
            gradients<decltype(many_rows)::value, decltype(few_rows)::value, Many, Few>(p, row, s);
        });
    });
}

}  // namespace

void skinny_gemm(const SkinnyGemm& p) {
    with_both(p.many_number, p.few_number, [&](auto many, auto few) {
        gemm<typename decltype(many)::Type, typename decltype(few)::Type>(p);
    });
}

void skinny_gradient(const SkinnyGradient& p) {
    with_both(p.many_number, p.few_number, [&](auto many, auto few) {
        gradient<typename decltype(many)::Type, typename decltype(few)::Type>(p);
    });
    if (p.non_temporal) fence_streaming();
}

}  // namespace digan_fast::DIGAN_FAST_ISA
