#pragma once

// Which matrices of float32 are multiplied as terms, on AMX.

#include "gemm/pack_weights_kernel.h"
#include "gemm/terms_rows_kernel.h"

namespace digan_fast {

inline LayerTraits traits_of(Precision precision) {
    LayerTraits traits;
    layer_traits({precision, &traits});
    return traits;
}

// Filled up to whole squares, a matrix as terms takes 6/16 of the time.
inline bool as_terms(int64_t outputs, int64_t inputs) {
    return traits_of(Precision::bfloat16).terms &&
           whole_squares(outputs) * whole_squares(inputs) <= 2 * outputs * inputs;
}

}  // namespace digan_fast
