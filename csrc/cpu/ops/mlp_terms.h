#pragma once

// Which layers of coordinate MLPs multiply float32 as terms, on AMX.

#include "digan_fast/coord_mlp.h"
#include "ops/row_products.h"

namespace digan_fast {

inline bool as_terms(const CoordMlpLayer& layer) {
    return layer.number == Number::float32 && as_terms(layer.outputs, layer.inputs);
}

}  // namespace digan_fast
