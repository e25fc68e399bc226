#include "digan_fast/bias_act.h"
#include "runtime/threads.h"
#include "simd/activations-inl.h"
#include "simd/bfloat16-inl.h"
#include "simd/vec16-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Elements per strip: widened to float32, summed while they are in the L1 cache, with grad's single
// element repeated if it is expanded.
constexpr int64_t kStrip = 1024;

// dx[i] = grad[i] · act'(x[i] + bias[i]) · gain where |out[i]| < clamp; dx may alias any of the
// others.
template <Activation A, bool OwnBias, bool Clamped>
void run_strip(float* dx, const float* grad, const float* x, const float* bias, const float* out,
               int64_t n, const BiasActBackwardParams& p) {
    const float alpha = p.alpha, gain = p.gain, clamp = p.clamp;
    if constexpr (homogeneous(A)) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            const float y = A == Activation::linear && !Clamped ? 0.0f : out[i];
            const float d = through<A>(grad[i], y, alpha) * gain;
            dx[i] = !Clamped || fabsf(y) < clamp ? d : 0.0f;
        }
    } else {
        const float shared = bias[0];
        float slopes[kStrip];
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            slopes[i] = slope<A>(x[i] + (OwnBias ? bias[i] : shared), alpha);
        }
        if constexpr (A == Activation::sine) {
            int far = 0;
#pragma omp simd reduction(| : far)
            for (int64_t i = 0; i < n; ++i) {
                far |= fabsf(x[i] + (OwnBias ? bias[i] : shared)) > kSincosReach;
            }
            for (int64_t i = 0; far && i < n; ++i) {
                const float z = x[i] + (OwnBias ? bias[i] : shared);
                float s;
                if (fabsf(z) > kSincosReach) sincos_far(z, &s, &slopes[i]);
            }
        }
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            const float d = grad[i] * slopes[i] * gain;
            dx[i] = !Clamped || fabsf(out[i]) < clamp ? d : 0.0f;
        }
    }
}

// The tensors of a call, strip by strip; bfloat16 and expanded ones are copied to float32 buffers.
template <Activation A, bool OwnBias, bool Clamped>
class Strips {
  public:
    explicit Strips(const BiasActBackwardParams& p) : p_(p), narrow_(p.number == Number::bfloat16) {
        if (!p.grad_expanded) return;
        const float one = narrow_ ? widened(*static_cast<const uint16_t*>(p.grad))
                                  : *static_cast<const float*>(p.grad);
        for (float& grad : grad_) grad = one;
    }

    // Writes elements [begin, begin + n), n ≤ kStrip, and returns their gradients in float32.
    const float* run(int64_t begin, int64_t n, const float* bias) {
        const float* grad = p_.grad_expanded ? grad_ : input(p_.grad, begin, n, grad_);
        const bool with_x = !homogeneous(A);
        const bool with_out = Clamped || (homogeneous(A) && A != Activation::linear);
        const float* x = with_x ? input(p_.x, begin, n, x_) : nullptr;
        const float* out = with_out ? input(p_.out, begin, n, out_) : nullptr;
        float* dx = narrow_ ? dx_ : static_cast<float*>(p_.dx) + begin;
        run_strip<A, OwnBias, Clamped>(dx, grad, x, bias, out, n, p_);
        if (narrow_) narrow(static_cast<uint16_t*>(p_.dx) + begin, dx, n);
        return dx;
    }

  private:
    const float* input(const void* data, int64_t begin, int64_t n, float* wide) const {
        if (!narrow_) return static_cast<const float*>(data) + begin;
        widen(wide, static_cast<const uint16_t*>(data) + begin, n);
        return wide;
    }

    const BiasActBackwardParams& p_;
    const bool narrow_;
    float grad_[kStrip], x_[kStrip], out_[kStrip], dx_[kStrip];
};

// inner > 1: a row is one channel of one sample, and each of its pieces yields one sum. Short rows
// that need no bias are processed together.
template <Activation A, bool Clamped>
void rows(const BiasActBackwardParams& p, const BiasActParts& parts, int64_t first, int64_t last,
          int64_t from, int64_t to) {
    Strips<A, false, Clamped> strips(p);
    const float none = 0.0f;
    const int64_t together = homogeneous(A) && p.inner <= kStrip ? kStrip / p.inner : 1;
    for (int64_t row = first; row < last; row += together) {
        const int64_t count = last - row < together ? last - row : together;
        const float* bias = p.bias ? p.bias + row % p.channels : &none;
        Vec16 sums = zero16();
        for (int64_t i = from; i < to; i += kStrip) {
            const int64_t n = to - i < kStrip ? to - i : kStrip;
            const float* dx = strips.run(row * p.inner + i, count * n, bias);
            for (int64_t k = 0; k < count; ++k, dx += n) {
                if (count > 1) sums = zero16();
                int64_t j = 0;
                for (; j + kVec16 <= n; j += kVec16) add(sums, load16(dx + j));
                if (j < n) add(sums, load16(dx + j, n - j));
                if (count > 1) p.partials[row + k] = total(sums);
            }
        }
        if (count == 1) p.partials[row * parts.split + from / parts.length] = total(sums);
    }
}

// inner = 1: rows of channels, which yield one sum per channel. If there are few channels, several
// rows are processed as one longer row. Long float32 sums lose digits, always in the same direction
// if the terms are equal, so they are added to doubles after every 64 terms.
template <Activation A, bool Clamped>
void columns(const BiasActBackwardParams& p, int64_t first, int64_t last, float* sums) {
    Strips<A, true, Clamped> strips(p);
    constexpr int64_t kRuns = 64;
    float biases[kStrip], totals[kStrip];
    double exact[kStrip];
    const int64_t channels = p.channels;
    const int64_t most = channels < kStrip ? channels : kStrip;
    const int64_t repeat = channels < kStrip / 2 ? kStrip / 2 / channels : 1;
    for (int64_t c = 0; c < channels; c += most) {
        const int64_t width = channels - c < most ? channels - c : most;
        for (int64_t i = 0; i < repeat * width; ++i) {
            biases[i] = p.bias ? p.bias[c + i % width] : 0.0f;
            exact[i] = 0;
        }
        for (int64_t begin = first; begin < last; begin += kRuns * repeat) {
            const int64_t end = last - begin < kRuns * repeat ? last : begin + kRuns * repeat;
            for (int64_t i = 0; i < repeat * width; ++i) totals[i] = 0.0f;
            for (int64_t row = begin; row < end; row += repeat) {
                const int64_t n = (end - row < repeat ? end - row : repeat) * width;
                const float* dx = strips.run(row * channels + c, n, biases);
#pragma omp simd
                for (int64_t i = 0; i < n; ++i) totals[i] += dx[i];
            }
#pragma omp simd
            for (int64_t i = 0; i < repeat * width; ++i) exact[i] += totals[i];
        }
        for (int64_t k = 1; k < repeat; ++k) {
            for (int64_t i = 0; i < width; ++i) exact[i] += exact[k * width + i];
        }
        for (int64_t i = 0; i < width; ++i) sums[c + i] = static_cast<float>(exact[i]);
    }
}

// dbias from partials [count, channels, split], in double.
void reduce(const BiasActBackwardParams& p, int64_t count, int64_t split) {
    constexpr int64_t kStripChannels = 64;
    for (int64_t c = 0; c < p.channels; c += kStripChannels) {
        const int64_t width = p.channels - c < kStripChannels ? p.channels - c : kStripChannels;
        double sums[kStripChannels] = {};
        for (int64_t k = 0; k < count; ++k) {
            const float* partials = p.partials + (k * p.channels + c) * split;
            for (int64_t i = 0; i < width; ++i) {
                for (int64_t s = 0; s < split; ++s) sums[i] += partials[i * split + s];
            }
        }
        for (int64_t i = 0; i < width; ++i) p.dbias[c + i] = static_cast<float>(sums[i]);
    }
}

template <Activation A, bool Clamped>
void run(const BiasActBackwardParams& p) {
    const BiasActParts parts = bias_act_parts(p.outer, p.channels, p.inner);
    const int64_t ranges = (parts.rows + parts.per_task - 1) / parts.per_task;
    parallel_for(p.threads, ranges * parts.split, [&](int64_t task) {
        const int64_t range = task / parts.split;
        const int64_t first = range * parts.per_task;
        const int64_t rest = parts.rows - first;
        const int64_t last = first + (rest < parts.per_task ? rest : parts.per_task);
        if (p.inner == 1) {
            return columns<A, Clamped>(p, first, last, p.partials + range * p.channels);
        }
        const int64_t from = task % parts.split * parts.length;
        const int64_t to = from + parts.length < p.inner ? from + parts.length : p.inner;
        rows<A, Clamped>(p, parts, first, last, from, to);
    });
    if (p.inner == 1) return reduce(p, ranges, 1);
    reduce(p, p.outer, parts.split);
}

}  // namespace

void bias_act_backward_cpu(const BiasActBackwardParams& params) {
    BiasActBackwardParams p = params;
    if (p.outer * p.channels * p.inner == 0) {
        for (int64_t c = 0; c < p.channels; ++c) p.dbias[c] = 0.0f;
        return;
    }
    const bool clamped = p.clamp < HUGE_VALF;
    // A clamped value was stored as the clamp rounded to that precision.
    if (clamped && p.number == Number::bfloat16) p.clamp = widened(narrowed(p.clamp));
    with_activation(p.activation, [&](auto a) {
        constexpr Activation A = decltype(a)::value;
        if (clamped) {
            run<A, true>(p);
        } else {
            run<A, false>(p);
        }
    });
}

}  // namespace digan_fast::DIGAN_FAST_ISA
