// Kernels are compiled once per instruction set, in that set's namespace; this file is compiled
// once, for the baseline, and calls those of the selected set.

#include "digan_fast/bias_act.h"
#include "digan_fast/cpu.h"
#include "digan_fast/fmm_weights.h"
#include "digan_fast/peak.h"
#include "digan_fast/upfirdn2d.h"
#include "fourier/mirrored_kernel.h"
#include "gemm/pixel_rows_kernel.h"
#include "gemm/skinny_kernel.h"
#include "ops/coord_mlp_kernel.h"
#include "render/block_kernel.h"

#define DIGAN_FAST_DECLARE(isa, op, Params) \
    namespace isa {                         \
    void op(const Params& params);          \
    }

#if DIGAN_FAST_X86_ISAS
#    define DIGAN_FAST_DISPATCH(op, Params)        \
        DIGAN_FAST_DECLARE(generic, op, Params)    \
        DIGAN_FAST_DECLARE(avx2, op, Params)       \
        DIGAN_FAST_DECLARE(avx512, op, Params)     \
        DIGAN_FAST_DECLARE(avx512bf16, op, Params) \
        void op(const Params& params) {            \
            switch (selected_isa()) {              \
                case Isa::avx512bf16:              \
                    return avx512bf16::op(params); \
                case Isa::avx512:                  \
                    return avx512::op(params);     \
                case Isa::avx2:                    \
                    return avx2::op(params);       \
                case Isa::generic:                 \
                    return generic::op(params);    \
            }                                      \
        }
#else
#    define DIGAN_FAST_DISPATCH(op, Params)     \
        DIGAN_FAST_DECLARE(generic, op, Params) \
        void op(const Params& params) { generic::op(params); }
#endif

namespace digan_fast {

DIGAN_FAST_DISPATCH(axis_feature_table, AxisFeatureTable)
DIGAN_FAST_DISPATCH(bias_act_cpu, BiasActParams)
DIGAN_FAST_DISPATCH(skinny_gradient, SkinnyGradient)
DIGAN_FAST_DISPATCH(skinny_gemm, SkinnyGemm)
DIGAN_FAST_DISPATCH(mirrored_gemm, MirroredGemm)
DIGAN_FAST_DISPATCH(even_odd_gradient, EvenOddGradient)
DIGAN_FAST_DISPATCH(mlp_group, MlpGroup)
DIGAN_FAST_DISPATCH(pack_factor, PackFactor)
DIGAN_FAST_DISPATCH(pack_layer, LayerPacking)
DIGAN_FAST_DISPATCH(peak_cpu, PeakParams)
DIGAN_FAST_DISPATCH(block_axis_features, BlockAxisFeatures)
DIGAN_FAST_DISPATCH(render_group, BlockGroup)
DIGAN_FAST_DISPATCH(pack_column_panels, ColumnPanelPacking)
DIGAN_FAST_DISPATCH(pixel_row_gemm, PixelRowGemm)
DIGAN_FAST_DISPATCH(weight_gradient, WeightGradient)
DIGAN_FAST_DISPATCH(activation_backward, ActivationBackward)
DIGAN_FAST_DISPATCH(row_features, RowFeatures)
DIGAN_FAST_DISPATCH(row_features_gradient, RowFeaturesGradient)
DIGAN_FAST_DISPATCH(rotation_backward, RotationBackward)
DIGAN_FAST_DISPATCH(rotate_weights, WeightRotation)
DIGAN_FAST_DISPATCH(pack_rotated_panels, RotatedPanelPacking)
DIGAN_FAST_DISPATCH(bias_act_backward_cpu, BiasActBackwardParams)
DIGAN_FAST_DISPATCH(fmm_weights_cpu, FmmWeightsParams)
DIGAN_FAST_DISPATCH(fmm_weights_backward_cpu, FmmWeightsBackwardParams)
DIGAN_FAST_DISPATCH(upfirdn2d_cpu, Upfirdn2dParams)

}  // namespace digan_fast
