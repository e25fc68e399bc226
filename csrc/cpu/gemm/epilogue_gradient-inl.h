#pragma once

// The gradient of an epilogue.

#include "gemm/epilogue-inl.h"
#include "gemm/pixel_rows_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// dz = grad · act'(z) · gain of lrelu, relu or linear, from the output, and 0 where that is
// clamped.
class EpilogueGradient {
  public:
    explicit EpilogueGradient(const RowActivation& p)
        : below_zero_(broadcast(slope_below_zero(p.activation))),
          gain_(broadcast(p.gain)),
          clamp_(p.clamp) {}

    DIGAN_FAST_INLINE Vec of(Vec grad, Vec out) const {
        const Vec slope = where_less(broadcast(0.0f), out, broadcast(1.0f), below_zero_);
        return unclamped(mul(mul(grad, slope), gain_), out);
    }

    // The same of sine, from z.
    DIGAN_FAST_INLINE Vec of_sine(Vec grad, Vec out, Vec z) const {
        Vec sine, cosine;
        sine_and_cosine(z, &sine, &cosine);
        return unclamped(mul(mul(grad, cosine), gain_), out);
    }

  private:
    // A NaN is not below the clamp, so it gets no gradient.
    DIGAN_FAST_INLINE Vec unclamped(Vec dz, Vec out) const {
        if (!(clamp_ < INFINITY)) return dz;
        return where_less(absolute(out), broadcast(clamp_), dz, broadcast(0.0f));
    }

    Vec below_zero_, gain_;
    float clamp_;
};

// dz[n] = gradient(grad[n], out[n], n) along a row, added to dbias. Four rows at once would keep
// dbias in registers, but read memory more slowly.
template <class Stored, class Dz, class Gradient>
static DIGAN_FAST_INLINE void gradient_row(const Stored* grad, const Stored* out, Dz* dz,
                                           float* dbias, int64_t columns,
                                           const Gradient& gradient) {
    for (int64_t n = 0; n < columns; n += Vec::width) {
        const int64_t count = columns - n;
        const Vec z = gradient(load_some(grad + n, count), load_some(out + n, count), n);
        store_some(dz + n, count, z);
        store_some(dbias + n, count, add(load_some(dbias + n, count), z));
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
