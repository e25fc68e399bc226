#pragma once

// The vectors of a sample, and what is added to its products.

#include "digan_fast/coord_mlp.h"

namespace digan_fast {

// A sample's vector in [B, size], or null.
inline const float* vector_of(const float* vectors, int64_t set, int64_t size) {
    return vectors ? vectors + set * size : nullptr;
}

// Whether β is added after γ: without γ it is part of the bias.
inline bool has_own_shift(const CoordMlpLayer& layer) { return layer.scale && layer.shift; }

// bias: ω·b, or ω·(b + β) [outputs]; shift: ω·β, if has_own_shift.
inline void set_offsets(const CoordMlpLayer& layer, int64_t set, float* bias, float* shift) {
    const float* const b = vector_of(layer.bias, set, layer.outputs);
    const float* const beta = vector_of(layer.shift, set, layer.outputs);
    for (int64_t n = 0; n < layer.outputs; ++n) {
        const float before = b ? b[n] : 0.0f;
        bias[n] = layer.omega * (!layer.scale && beta ? before + beta[n] : before);
        if (has_own_shift(layer)) shift[n] = layer.omega * beta[n];
    }
}

}  // namespace digan_fast
