#pragma once

#include "render/block_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// render_group for stages in int8.
void render_group_int8(const BlockGroup& params);

}  // namespace digan_fast::DIGAN_FAST_ISA
