#pragma once

// Which layers of coordinate MLPs multiply float32 as terms, on AMX.

#include "digan_fast/coord_mlp.h"
#include "gemm/pack_weights_kernel.h"
#include "gemm/terms_rows_kernel.h"

namespace digan_fast {

inline LayerTraits traits_of(Precision precision) {
    LayerTraits traits;
    layer_traits({precision, &traits});
    return traits;
}

// Filled up to whole squares, a layer as terms takes 6/16 of the time.
inline bool as_terms(const CoordMlpLayer& layer) {
    return layer.number == Number::float32 && traits_of(Precision::bfloat16).terms &&
           whole_squares(layer.outputs) * whole_squares(layer.inputs) <=
               2 * layer.outputs * layer.inputs;
}

}  // namespace digan_fast
