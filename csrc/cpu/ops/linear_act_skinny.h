#pragma once

#include "digan_fast/linear_act.h"

namespace digan_fast {

// Whether a video's rows or outputs are a few: the two below are for these, and quicker.
bool is_skinny(const LinearActParams& params);
void linear_act_skinny(const LinearActParams& params);
// Not for sine.
void linear_act_skinny_backward(const LinearActBackwardParams& params);

}  // namespace digan_fast
