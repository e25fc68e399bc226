#pragma once

#include "digan_fast/linear_act.h"

namespace digan_fast {

// Whether a video's rows or outputs are a few: the two below are for these, and quicker.
bool has_few(const LinearActParams& params);
void linear_act_few(const LinearActParams& params);
// Not for sine.
void linear_act_few_backward(const LinearActBackwardParams& params);

}  // namespace digan_fast
