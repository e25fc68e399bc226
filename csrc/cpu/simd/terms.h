#pragma once

#include <cstdint>

namespace digan_fast {

// Of bfloat16, whose sum is a float32.
constexpr int64_t kTerms = 3;

}  // namespace digan_fast
