#pragma once

// The pointwise activations and their derivatives, for loops that the compiler vectorises.

#include "digan_fast/bias_act.h"
#include "simd/sincos-inl.h"
#include "simd/vec_math-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

constexpr float kSlope = 0.2f;  // of lrelu below 0, where it is not an argument
constexpr float kSeluScale = 1.0507009873554805f;
constexpr float kSeluAlpha = 1.6732632423543772f;

// Whether act(g·z) = g·act(z) for g > 0: then the derivative follows from the output's sign.
constexpr bool homogeneous(Activation a) {
    return a == Activation::linear || a == Activation::relu || a == Activation::lrelu;
}

// Of relu, lrelu and linear.
inline float slope_below_zero(Activation activation) {
    if (activation == Activation::relu) return 0.0f;
    return activation == Activation::lrelu ? kSlope : 1.0f;
}

// act(z); for sine within kSincosReach.
template <Activation A>
inline float activate(float z, float alpha) {
    if constexpr (A == Activation::relu) return z < 0.0f ? 0.0f : z;
    if constexpr (A == Activation::lrelu) return z > 0.0f ? z : z * alpha;
    if constexpr (A == Activation::tanh) return tanh_(z);
    if constexpr (A == Activation::sigmoid) return sigmoid(z);
    if constexpr (A == Activation::elu) {
        return z > 0.0f ? z : alpha * expm1_negative(z > 0.0f ? 0.0f : z);
    }
    if constexpr (A == Activation::selu) {
        return kSeluScale * (z > 0.0f ? z : kSeluAlpha * expm1_negative(z > 0.0f ? 0.0f : z));
    }
    if constexpr (A == Activation::softplus) return softplus(z);
    if constexpr (A == Activation::swish) return z * sigmoid(z);
    if constexpr (A == Activation::sine) {
        float s, c;
        sincos_(z, &s, &c);
        return s;
    }
    return z;
}

// act'(z) of the activations that are not homogeneous; for sine within kSincosReach.
template <Activation A>
inline float slope(float z, float alpha) {
    if constexpr (A == Activation::tanh) {  // 1 − tanh² = 4e/(1 + e)², e = exp(−2|z|)
        const float e = exp_(-2.0f * fabsf(z));
        const float d = 1.0f + e;
        return 4.0f * e / (d * d);
    }
    if constexpr (A == Activation::sigmoid) {
        const float e = exp_(-fabsf(z));
        const float d = 1.0f + e;
        return e / (d * d);
    }
    if constexpr (A == Activation::elu) return z > 0.0f ? 1.0f : alpha * exp_(z);
    if constexpr (A == Activation::selu) {
        return kSeluScale * (z > 0.0f ? 1.0f : kSeluAlpha * exp_(z));
    }
    if constexpr (A == Activation::softplus) return sigmoid(z);
    if constexpr (A == Activation::swish) return sigmoid(z) * (1.0f + z * sigmoid(-z));
    if constexpr (A == Activation::sine) {
        float s, c;
        sincos_(z, &s, &c);
        return c;
    }
    return 1.0f;
}

// grad · act' of the homogeneous activations, from y = act(z) · gain or its clamped value.
template <Activation A>
inline float through(float grad, float y, float alpha) {
    if constexpr (A == Activation::relu) return y <= 0.0f ? 0.0f : grad;
    if constexpr (A == Activation::lrelu) return y > 0.0f ? grad : grad * alpha;
    return grad;
}

template <Activation A>
struct ActivationIs {
    static constexpr Activation value = A;
};

// body(ActivationIs<a>{})
template <class Body>
inline void with_activation(Activation a, const Body& body) {
    switch (a) {
        case Activation::linear:
            return body(ActivationIs<Activation::linear>{});
        case Activation::relu:
            return body(ActivationIs<Activation::relu>{});
        case Activation::lrelu:
            return body(ActivationIs<Activation::lrelu>{});
        case Activation::tanh:
            return body(ActivationIs<Activation::tanh>{});
        case Activation::sigmoid:
            return body(ActivationIs<Activation::sigmoid>{});
        case Activation::elu:
            return body(ActivationIs<Activation::elu>{});
        case Activation::selu:
            return body(ActivationIs<Activation::selu>{});
        case Activation::softplus:
            return body(ActivationIs<Activation::softplus>{});
        case Activation::swish:
            return body(ActivationIs<Activation::swish>{});
        case Activation::sine:
            return body(ActivationIs<Activation::sine>{});
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
