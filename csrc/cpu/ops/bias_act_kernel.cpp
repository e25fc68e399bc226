#include "digan_fast/bias_act.h"
#include "runtime/threads.h"
#include "simd/activations-inl.h"
#include "simd/bfloat16-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Elements per thread. Measured on two Zen 4 cores (lrelu): a second thread gains nothing at 2^13
// elements (2 µs), 12–19 % at 2^14, half at 2^17; on a busy machine joining it takes
// milliseconds.
constexpr int64_t kGrain = 1 << 14;

// Elements that are widened to float32 at once; a single value beyond the reach of sincos_ slows
// down the others of its strip.
constexpr int64_t kStrip = 1024;

inline float apply_epilogue(float y, const BiasActParams& p) {
    y *= p.gain;
    const float below = y < -p.clamp ? -p.clamp : y;
    return below > p.clamp ? p.clamp : below;
}

// out[i] = f(x[i] + bias[i]), or f(x[i] + bias[0])
template <Activation A, bool OwnBias>
void run_strip(float* out, const float* x, const float* bias, int64_t n,
               const BiasActParams& params) {
    const BiasActParams p = params;
    const float shared = bias[0];
    if constexpr (A == Activation::sine) {
        int far = 0;
#pragma omp simd reduction(| : far)
        for (int64_t i = 0; i < n; ++i) {
            far |= fabsf(x[i] + (OwnBias ? bias[i] : shared)) > kSincosReach;
        }
        if (far) {
            for (int64_t i = 0; i < n; ++i) {
                const float z = x[i] + (OwnBias ? bias[i] : shared);
                float s, c;
                if (fabsf(z) > kSincosReach) {
                    sincos_far(z, &s, &c);
                } else {
                    sincos_(z, &s, &c);
                }
                out[i] = apply_epilogue(s, p);
            }
            return;
        }
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
        out[i] = apply_epilogue(activate<A>(x[i] + (OwnBias ? bias[i] : shared), p.alpha), p);
    }
}

// Elements [begin, begin + n), all in one channel unless OwnBias.
template <Activation A, bool OwnBias>
void piece(const BiasActParams& p, int64_t begin, const float* bias, int64_t n) {
    constexpr int64_t kStep = OwnBias ? 1 : 0;
    if (p.number == Number::float32) {
        float* out = static_cast<float*>(p.out) + begin;
        const float* x = static_cast<const float*>(p.x) + begin;
        if (A != Activation::sine) return run_strip<A, OwnBias>(out, x, bias, n, p);
        for (int64_t i = 0; i < n; i += kStrip) {
            const int64_t m = n - i < kStrip ? n - i : kStrip;
            run_strip<A, OwnBias>(out + i, x + i, bias + i * kStep, m, p);
        }
        return;
    }
    float wide[kStrip];
    uint16_t* out = static_cast<uint16_t*>(p.out) + begin;
    const uint16_t* x = static_cast<const uint16_t*>(p.x) + begin;
    for (int64_t i = 0; i < n; i += kStrip) {
        const int64_t m = n - i < kStrip ? n - i : kStrip;
        widen(wide, x + i, m);
        run_strip<A, OwnBias>(wide, wide, bias + i * kStep, m, p);
        narrow(out + i, wide, m);
    }
}

// Elements [begin, end) of the flattened tensor.
template <Activation A>
void range(const BiasActParams& p, int64_t begin, int64_t end) {
    const float none = 0.0f;
    if (!p.bias) return piece<A, false>(p, begin, &none, end - begin);
    while (begin < end) {
        int64_t n;
        if (p.inner == 1) {
            const int64_t c = begin % p.channels;
            n = p.channels - c < end - begin ? p.channels - c : end - begin;
            piece<A, true>(p, begin, p.bias + c, n);
        } else {
            const int64_t rest = p.inner - begin % p.inner;
            n = rest < end - begin ? rest : end - begin;
            piece<A, false>(p, begin, p.bias + begin / p.inner % p.channels, n);
        }
        begin += n;
    }
}

}  // namespace

void bias_act_cpu(const BiasActParams& p) {
    const int64_t size = p.outer * p.channels * p.inner;
    if (size == 0) return;
    const int64_t most = (size + kGrain - 1) / kGrain;
    const int threads = most < p.threads ? static_cast<int>(most) : p.threads;
    const int64_t share = (size / threads + 32) & ~int64_t{31};  // whole cache lines
    with_activation(p.activation, [&](auto a) {
        constexpr Activation A = decltype(a)::value;
        parallel_for(threads, threads, [&](int64_t t) {
            const int64_t begin = t * share;
            const int64_t end = begin + share < size ? begin + share : size;
            if (begin < end) range<A>(p, begin, end);
        });
    });
}

}  // namespace digan_fast::DIGAN_FAST_ISA
