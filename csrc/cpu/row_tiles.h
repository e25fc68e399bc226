#pragma once

// Register tiles of matrices whose rows are pixels: panels of lanes, their last one narrower.

#include "product.h"
#include "row_blocks.h"

namespace digan_fast::DIGAN_FAST_ISA {

// Lanes of the panel that begins at lane n: a tile, or a vector for the last few.
static inline int64_t panel_width(int64_t lanes, int64_t n) {
    return lanes - n > Vec::width ? kTile : Vec::width;
}

// call(V) with the vectors of the panel.
template <class Call>
static DIGAN_FAST_INLINE void by_vectors(int64_t width, const Call& call) {
    if (width == kTile) {
        call(Rows<2>{});
    } else {
        call(Rows<1>{});
    }
}

static DIGAN_FAST_INLINE Vec load_some(const float* p, int64_t count) {
    if (count >= Vec::width) return load(p);
    float lanes[Vec::width] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
    return load(lanes);
}

static DIGAN_FAST_INLINE void store_some(float* p, int64_t count, Vec a) {
    if (count >= Vec::width) return store(p, a);
    float lanes[Vec::width];
    store(lanes, a);
    for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
}

}  // namespace digan_fast::DIGAN_FAST_ISA
