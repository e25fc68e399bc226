"""Device functions: activations and their derivatives in float32, and sines that need no stack."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sin_cos(theta):
    """sin θ and cos θ in float32, both within 2⁻²³ for |θ| < 10⁵; beyond 4·10⁶ they are meaningless.

    r = θ − n·π/2 in [−π/4, π/4], with π/2 in two parts, error 2·10⁻¹⁵.  The polynomials are minimax:
    sin r = r + r³·p(r²), error 2·10⁻⁹; cos r = 1 − r²/2 + r⁴·q(r²), error 10⁻¹⁰.
    """
    n = tl.floor(tl.fma(theta, 0.6366197466850281, 0.5))
    r = tl.fma(n, -1.5707963705062866, theta)
    r = tl.fma(n, 4.371138828673793e-08, r)
    square = r * r
    p = tl.fma(tl.fma(square, -0.0001948179124156013, 0.00833186786621809), square, -0.16666649281978607)
    q = tl.fma(tl.fma(square, 2.4423887225566432e-05, -0.0013887243112549186), square, 0.04166664555668831)
    sine = tl.fma(r * square, p, r)
    cosine = tl.fma(square * square, q, tl.fma(square, -0.5, 1.0))
    quadrant = n.to(tl.int32)
    swapped = (quadrant & 1) != 0
    first = tl.where(swapped, cosine, sine)
    second = tl.where(swapped, sine, cosine)
    return (
        tl.where((quadrant & 2) != 0, -first, first),
        tl.where(((quadrant + 1) & 2) != 0, -second, second),
    )


@triton.jit
def _sigmoid(z):
    return 1.0 / (1.0 + tl.exp(-z))


@triton.jit
def _tanh(z):
    # From e = exp(−2|z|) ≤ 1; near 0, where 1 − e cancels, by the series.
    e = tl.exp(-2.0 * tl.abs(z))
    far = (1.0 - e) / (1.0 + e)
    square = z * z
    near = tl.fma(z * square, tl.fma(square, 2.0 / 15.0, -1.0 / 3.0), z)
    return tl.where(tl.abs(z) < 0.05, near, tl.where(z < 0.0, -far, far))


@triton.jit
def _expm1(z):
    """exp(z) − 1 for z ≤ 0."""
    near = z * tl.fma(z, tl.fma(z, tl.fma(z, 1.0 / 24.0, 1.0 / 6.0), 0.5), 1.0)
    return tl.where(z > -0.05, near, tl.exp(z) - 1.0)


@triton.jit
def activated(z, ACTIVATION: tl.constexpr):
    """act(z) in float32."""
    if ACTIVATION == "linear":
        y = z
    elif ACTIVATION == "relu":
        y = tl.where(z > 0.0, z, 0.0)
    elif ACTIVATION == "lrelu":
        y = tl.where(z > 0.0, z, z * 0.2)
    elif ACTIVATION == "sine":
        y, _ = sin_cos(z)
    elif ACTIVATION == "tanh":
        y = _tanh(z)
    elif ACTIVATION == "sigmoid":
        y = _sigmoid(z)
    elif ACTIVATION == "gauss":
        y = tl.exp(-0.5 * z * z)
    elif ACTIVATION == "elu":
        y = tl.where(z > 0.0, z, _expm1(tl.minimum(z, 0.0)))
    elif ACTIVATION == "selu":
        y = 1.0507009873554805 * tl.where(z > 0.0, z, 1.6732632423543772 * _expm1(tl.minimum(z, 0.0)))
    elif ACTIVATION == "softplus":
        # Above 20 torch returns z.
        y = tl.where(z > 20.0, z, tl.maximum(z, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(z))))
    else:
        tl.static_assert(ACTIVATION == "swish", "an activation without a formula")
        y = z * _sigmoid(z)
    return y


@triton.jit
def derivative(z, ACTIVATION: tl.constexpr):
    """act'(z) in float32; for homogeneous activations z may be the output."""
    if ACTIVATION == "linear":
        slope = tl.full(z.shape, 1.0, tl.float32)
    elif ACTIVATION == "relu":
        slope = tl.where(z > 0.0, 1.0, 0.0)
    elif ACTIVATION == "lrelu":
        slope = tl.where(z > 0.0, 1.0, 0.2)
    elif ACTIVATION == "sine":
        _, slope = sin_cos(z)
    elif ACTIVATION == "tanh":
        t = _tanh(z)
        slope = 1.0 - t * t
    elif ACTIVATION == "sigmoid":
        slope = _sigmoid(z) * _sigmoid(-z)
    elif ACTIVATION == "gauss":
        slope = -z * tl.exp(-0.5 * z * z)
    elif ACTIVATION == "elu":
        slope = tl.exp(tl.minimum(z, 0.0))
    elif ACTIVATION == "selu":
        slope = 1.0507009873554805 * tl.where(z > 0.0, 1.0, 1.6732632423543772 * tl.exp(tl.minimum(z, 0.0)))
    elif ACTIVATION == "softplus":
        slope = _sigmoid(z)
    else:
        tl.static_assert(ACTIVATION == "swish", "an activation without a formula")
        slope = _sigmoid(z) * (1.0 + z * _sigmoid(-z))
    return slope


@triton.jit
def finished(z, gain, clamp, ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr):
    """clamp(act(z)·gain, ±clamp)."""
    y = activated(z, ACTIVATION) * gain
    if CLAMPED:
        y = tl.minimum(tl.maximum(y, -clamp), clamp)
    return y


@triton.jit
def pre_activation_gradient(grad, z, out, gain, clamp, ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr):
    """grad·act'(z)·gain, and 0 where the output was clamped."""
    found = grad * derivative(z, ACTIVATION) * gain
    if CLAMPED:
        found = tl.where(tl.abs(out) < clamp, found, 0.0)
    return found


@triton.jit
def gradient_tile(grad, out, at, inside, gain, clamp, ACTIVATION: tl.constexpr, CLAMPED: tl.constexpr):
    """dz of a homogeneous activation, in float32, from tiles of the output's gradient and the output."""
    found = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    if ACTIVATION != "linear" or CLAMPED:
        y = tl.load(out + at, mask=inside, other=0.0).to(tl.float32)
        found = pre_activation_gradient(found, y, y, gain, clamp, ACTIVATION, CLAMPED)
    else:
        found = found * gain
    return found
