#pragma once

#include "render/block_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// render_group and rotate_weights for stages in float32 as terms.
void render_group_terms(const BlockGroup& params);
void rotate_weights_terms(const WeightRotation& params);

}  // namespace digan_fast::DIGAN_FAST_ISA
