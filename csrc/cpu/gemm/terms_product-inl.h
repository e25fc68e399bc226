#pragma once

// Products of float32 matrices as terms, on AMX. Six products of bfloat16 take 6/16 of the time of
// FMA's, at 1024 operations a cycle instead of 64.

#include "gemm/amx_product-inl.h"
#include "simd/terms-inl.h"

#if DIGAN_FAST_AMX

namespace digan_fast::DIGAN_FAST_ISA {

// Products of terms, i + j ≤ 2.
constexpr int kProductsOfTerms = 6;

// sums[r] = Σ_k rows[k][r] · columns[k], [32][32]. For each step of 32 elements along K, `rows` has
// two tiles [16][16 pairs] of each term, and `columns` [16 pairs][32] of each. Calls between()
// after each four dots.
template <class Between>
static DIGAN_FAST_INLINE void terms_product(float* sums, int64_t steps, const Bf16x2* rows,
                                            const Bf16x2* columns, const Between& between) {
    zero_tmm<0>();
    zero_tmm<1>();
    zero_tmm<2>();
    zero_tmm<3>();
    const auto load_rows = [&](int term) DIGAN_FAST_INLINE_LAMBDA {
        load_tmm<4>(rows + 2 * term * kTmmElements, 4 * kTmmSide);
        load_tmm<5>(rows + (2 * term + 1) * kTmmElements, 4 * kTmmSide);
    };
    const auto load_columns = [&](int term) DIGAN_FAST_INLINE_LAMBDA {
        load_tmm<6>(columns + 2 * term * kTmmElements, 4 * kNR);
        load_tmm<7>(columns + 2 * term * kTmmElements + kTmmSide, 4 * kNR);
    };
    Pace pace{0, kProductsOfTerms * steps};
    const auto multiply = [&] DIGAN_FAST_INLINE_LAMBDA {
        dot_tmm<0, 4, 6>(Bf16x2{});
        dot_tmm<1, 4, 7>(Bf16x2{});
        dot_tmm<2, 5, 6>(Bf16x2{});
        dot_tmm<3, 5, 7>(Bf16x2{});
        between(pace);
        ++pace.call;
    };
    // Between two products one operand stays: 14 loads of tiles, not 24.
    for (int64_t k = 0; k < steps; ++k, rows += kStepElements, columns += kStepElements) {
        load_rows(2);
        load_columns(0);
        multiply();
        load_rows(0);
        multiply();
        load_columns(2);
        multiply();
        load_columns(1);
        multiply();
        load_rows(1);
        multiply();
        load_columns(0);
        multiply();
    }
    store_tmm<0>(sums, 4 * kNR);
    store_tmm<1>(sums + kTmmSide, 4 * kNR);
    store_tmm<2>(sums + kTmmSide * kNR, 4 * kNR);
    store_tmm<3>(sums + kTmmSide * kNR + kTmmSide, 4 * kNR);
}

}  // namespace digan_fast::DIGAN_FAST_ISA

#endif
