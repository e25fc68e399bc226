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
#include "gemm/terms_rows_kernel.h"
#include "ops/conv3x3_kernel.h"
#include "ops/coord_mlp_kernel.h"
#include "ops/coord_mlp_products_kernel.h"
#include "ops/coord_mlp_rows_kernel.h"
#include "render/block_kernel.h"

#define DIGAN_FAST_DECLARE(isa, op, Params) \
    namespace isa {                         \
    void op(const Params& params);          \
    }
#define DIGAN_FAST_SAME(isa, other, op) \
    namespace isa {                     \
    using other::op;                    \
    }

// DIGAN_FAST_DISPATCH_PLAIN: what multiplies no packed elements; avx512bf16 and amx are avx512.
// DIGAN_FAST_DISPATCH_PACKED: what packs and multiplies a precision's elements, with AMX.
#if DIGAN_FAST_X86_ISAS
#    define DIGAN_FAST_SWITCH(op, Params, isa)       \
        DIGAN_FAST_DECLARE(generic, op, Params)      \
        DIGAN_FAST_DECLARE(avx2, op, Params)         \
        DIGAN_FAST_DECLARE(avx512, op, Params)       \
        void op(const Params& params) {              \
            switch (isa) {                           \
                case Isa::amx_portable:              \
                    return amx_portable::op(params); \
                case Isa::amx:                       \
                    return amx::op(params);          \
                case Isa::avx512bf16:                \
                    return avx512bf16::op(params);   \
                case Isa::avx512:                    \
                    return avx512::op(params);       \
                case Isa::avx2:                      \
                    return avx2::op(params);         \
                case Isa::generic:                   \
                    return generic::op(params);      \
            }                                        \
        }
#    define DIGAN_FAST_DISPATCH_PLAIN(op, Params) \
        DIGAN_FAST_DECLARE(avx512, op, Params)    \
        DIGAN_FAST_SAME(avx512bf16, avx512, op)   \
        DIGAN_FAST_SAME(amx, avx512, op)          \
        DIGAN_FAST_SAME(amx_portable, avx512, op) \
        DIGAN_FAST_SWITCH(op, Params, selected_isa())
#    define DIGAN_FAST_DISPATCH(op, Params)           \
        DIGAN_FAST_DECLARE(avx512bf16, op, Params)    \
        DIGAN_FAST_SAME(amx, avx512bf16, op)          \
        DIGAN_FAST_SAME(amx_portable, avx512bf16, op) \
        DIGAN_FAST_SWITCH(op, Params, selected_isa())
#    if DIGAN_FAST_PORTABLE_AMX
#        define DIGAN_FAST_PORTABLE(op, Params) DIGAN_FAST_DECLARE(amx_portable, op, Params)
#    else
#        define DIGAN_FAST_PORTABLE(op, Params) DIGAN_FAST_SAME(amx_portable, amx, op)
#    endif
#    define DIGAN_FAST_DISPATCH_PACKED(op, Params, isa) \
        DIGAN_FAST_DECLARE(avx512bf16, op, Params)      \
        DIGAN_FAST_DECLARE(amx, op, Params)             \
        DIGAN_FAST_PORTABLE(op, Params)                 \
        DIGAN_FAST_SWITCH(op, Params, isa)
#else
#    define DIGAN_FAST_DISPATCH(op, Params)     \
        DIGAN_FAST_DECLARE(generic, op, Params) \
        void op(const Params& params) { generic::op(params); }
#    define DIGAN_FAST_DISPATCH_PLAIN DIGAN_FAST_DISPATCH
#    define DIGAN_FAST_DISPATCH_PACKED(op, Params, isa) DIGAN_FAST_DISPATCH(op, Params)
#endif

namespace digan_fast {

#if DIGAN_FAST_X86_ISAS
static Isa isa_of(Precision precision) {
    if (precision == Precision::bfloat16) return bfloat16_isa();
    const Isa isa = selected_isa();
    const bool amx = isa == Isa::amx || isa == Isa::amx_portable;
    return amx && precision != Precision::int8 ? Isa::avx512bf16 : isa;
}

static Isa isa_of(Number number) {
    return isa_of(number == Number::bfloat16 ? Precision::bfloat16 : Precision::float32);
}

static Isa isa_of(const LayerPacking& p) {
    return p.layer.terms ? bfloat16_isa() : isa_of(p.precision);
}

static Isa isa_of(Precision precision, bool terms) {
    return terms ? bfloat16_isa() : isa_of(precision);
}

static Isa isa_of(const RowFactors& p) { return p.terms ? bfloat16_isa() : isa_of(p.number); }

static Isa isa_of(const MlpGroup& p) {
    for (const MlpLayer* layer = p.layers; layer != p.layers + p.layer_count; ++layer)
        if (layer->packed.number == Number::bfloat16 || layer->packed.terms) return bfloat16_isa();
    return isa_of(Precision::float32);
}
#endif

DIGAN_FAST_DISPATCH(axis_feature_table, AxisFeatureTable)
DIGAN_FAST_DISPATCH_PLAIN(bias_act_cpu, BiasActParams)
DIGAN_FAST_DISPATCH(skinny_gradient, SkinnyGradient)
DIGAN_FAST_DISPATCH(skinny_gemm, SkinnyGemm)
DIGAN_FAST_DISPATCH_PACKED(mirrored_gemm, MirroredGemm, isa_of(params.number))
DIGAN_FAST_DISPATCH(mirrored_activation_backward, MirroredActivationBackward)
DIGAN_FAST_DISPATCH_PACKED(mlp_group, MlpGroup, isa_of(params))
DIGAN_FAST_DISPATCH_PACKED(layer_traits, LayerTraitsQuery, isa_of(params.precision))
DIGAN_FAST_DISPATCH_PACKED(mlp_activation, MlpActivation, isa_of(params.factors))
DIGAN_FAST_DISPATCH_PACKED(mlp_activation_gradient, MlpActivationGradient, isa_of(params.factors))
DIGAN_FAST_DISPATCH_PLAIN(mlp_row_operand, MlpRowOperand)
DIGAN_FAST_DISPATCH_PLAIN(mlp_row_operand_gradient, MlpRowOperandGradient)
DIGAN_FAST_DISPATCH_PLAIN(mlp_row_activation_gradient, MlpRowActivationGradient)
DIGAN_FAST_DISPATCH_PLAIN(mlp_rounding, MlpRounding)
DIGAN_FAST_DISPATCH_PACKED(pack_layer, LayerPacking, isa_of(params))
DIGAN_FAST_DISPATCH_PACKED(peak_cpu, PeakParams, selected_isa())
DIGAN_FAST_DISPATCH(block_axis_features, BlockAxisFeatures)
DIGAN_FAST_DISPATCH_PACKED(render_group, BlockGroup,
                           isa_of(params.stage->precision, params.stage->terms))
DIGAN_FAST_DISPATCH_PACKED(pack_column_panels, ColumnPanelPacking, isa_of(params.number))
DIGAN_FAST_DISPATCH_PACKED(pixel_row_gemm, PixelRowGemm, isa_of(params.number))
DIGAN_FAST_DISPATCH_PACKED(pack_terms_panels, TermsPanelPacking, bfloat16_isa())
DIGAN_FAST_DISPATCH_PACKED(terms_row_gemm, TermsRowGemm, bfloat16_isa())
DIGAN_FAST_DISPATCH_PACKED(terms_weight_gradient, TermsWeightGradient, bfloat16_isa())
DIGAN_FAST_DISPATCH_PACKED(weight_gradient, WeightGradient, isa_of(params.number))
DIGAN_FAST_DISPATCH(activation_backward, ActivationBackward)
DIGAN_FAST_DISPATCH(row_features, RowFeatures)
DIGAN_FAST_DISPATCH(row_features_gradient, RowFeaturesGradient)
DIGAN_FAST_DISPATCH(rotation_backward, RotationBackward)
DIGAN_FAST_DISPATCH_PACKED(rotate_weights, WeightRotation, isa_of(params.precision, params.terms))
DIGAN_FAST_DISPATCH_PACKED(pack_rotated_panels, RotatedPanelPacking, isa_of(params.number))
DIGAN_FAST_DISPATCH_PLAIN(bias_act_backward_cpu, BiasActBackwardParams)
DIGAN_FAST_DISPATCH_PLAIN(fmm_weights_cpu, FmmWeightsParams)
DIGAN_FAST_DISPATCH_PLAIN(fmm_weights_backward_cpu, FmmWeightsBackwardParams)
DIGAN_FAST_DISPATCH_PLAIN(upfirdn2d_cpu, Upfirdn2dParams)
DIGAN_FAST_DISPATCH_PLAIN(patch_factors, PatchFactors)
DIGAN_FAST_DISPATCH_PLAIN(patch_outputs, PatchOutputs)
DIGAN_FAST_DISPATCH_PLAIN(patch_rounding, PatchRounding)
DIGAN_FAST_DISPATCH_PLAIN(tap_factors, TapFactors)
DIGAN_FAST_DISPATCH_PLAIN(tap_gradients, TapGradients)

}  // namespace digan_fast
