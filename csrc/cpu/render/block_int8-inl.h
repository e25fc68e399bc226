#pragma once

#include "render/block_kernel.h"

namespace digan_fast::DIGAN_FAST_ISA {

// render_node for stages in int8.
void render_node_int8(const NodeParams& params);

}  // namespace digan_fast::DIGAN_FAST_ISA
