#pragma once

#include "digan_fast/linear_act.h"

namespace digan_fast {

// Whether a video has few rows or few outputs; for these the two functions below are faster.
bool is_skinny(const LinearActParams& params);
void linear_act_skinny(const LinearActParams& params);
// Not for sine.
void linear_act_skinny_backward(const LinearActBackwardParams& params);

}  // namespace digan_fast
