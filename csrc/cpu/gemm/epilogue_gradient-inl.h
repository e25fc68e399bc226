#pragma once

// The gradient of an epilogue.

#include "gemm/epilogue-inl.h"
#include "gemm/pixel_rows_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// dz = grad · act'(z) · gain of lrelu, relu or linear, from the output, a number `Stored`, and 0
// where that is clamped: at least the clamp, rounded as it is.
template <class Stored>
class EpilogueGradient {
  public:
    explicit EpilogueGradient(const RowActivation& p)
        : relu_(p.activation == Activation::relu),
          below_zero_(broadcast(slope_below_zero(p.activation))),
          gain_(broadcast(p.gain)),
          clamp_(sizeof(Stored) == sizeof(Bfloat16) ? to_bfloat16(p.clamp) : p.clamp) {}

    // Below relu's zero it is 0 for any grad, infinite or NaN; a NaN is not below.
    DIGAN_FAST_INLINE Vec of(Vec grad, Vec out) const {
        const Vec zero = broadcast(0.0f);
        const Vec dz = relu_ ? where_at_most(out, zero, zero, grad)
                             : where_less(zero, out, grad, mul(grad, below_zero_));
        return unclamped(mul(dz, gain_), out);
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

    bool relu_;
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
