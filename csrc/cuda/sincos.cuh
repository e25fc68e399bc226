#pragma once

#include "ptx.cuh"

namespace digan_fast::cuda {

// sin θ and cos θ, both within 2⁻²³ for |θ| < 10⁵, and of no use beyond 4·10⁶; no stack, no branch.
//
// r = θ − n·π/2 in [−π/4, π/4], π/2 in three parts so that each fma is exact or nearly so. The
// polynomials are minimax: sin r = r + r³·p(r²), 2·10⁻⁹ off; cos r = 1 − r²/2 + r⁴·q(r²), 10⁻¹⁰
// off.
__device__ __forceinline__ void sin_cos(float theta, float& sine, float& cosine) {
    const float n = floorf(fmaf(theta, 0.6366197466850281f, 0.5f));
    float r = fmaf(n, -1.5707963705062866f, theta);
    r = fmaf(n, 4.371138828673793e-08f, r);
    r = fmaf(n, 1.7151245100058819e-15f, r);
    const float square = r * r;
    float p = fmaf(square, -0.0001948179124156013f, 0.00833186786621809f);
    p = fmaf(p, square, -0.16666649281978607f);
    float q = fmaf(square, 2.4423887225566432e-05f, -0.0013887243112549186f);
    q = fmaf(q, square, 0.04166664555668831f);
    const float s = fmaf(r * square, p, r);
    const float c = fmaf(square * square, q, fmaf(square, -0.5f, 1.0f));
    const int quadrant = static_cast<int>(n);
    const float first = quadrant & 1 ? c : s, second = quadrant & 1 ? s : c;
    sine = quadrant & 2 ? -first : first;
    cosine = (quadrant + 1) & 2 ? -second : second;
}

}  // namespace digan_fast::cuda
