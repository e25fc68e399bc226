#include "ops/coord_mlp_kernel.h"

#include "gemm/pixel_lanes-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

void mlp_group(const MlpGroup& p) {
    const int64_t stride = p.widest * kBlockPixels;
    const int blocks = static_cast<int>((p.points + kBlockPixels - 1) / kBlockPixels);
    float *x = p.scratch[0], *y = p.scratch[1];
    const int64_t depth = p.layers[0].depth;
    for (int64_t at = 0; at < blocks * kBlockPixels; ++at) {
        float* const lane = x + at / kBlockPixels * stride + at % kBlockPixels;
        for (int64_t d = 0; d < depth; ++d)
            lane[d * kBlockPixels] = at < p.points ? p.inputs[at * depth + d] : 0.0f;
    }
    for (const PackedLayer* layer = p.layers; layer != p.layers + p.layer_count; ++layer) {
        const bool last = layer + 1 == p.layers + p.layer_count;
        gemm<float>(*layer, blocks, Bias{layer->bias}, x, stride, epilogue_of(*layer, false),
                    [&](const auto& tile, int block, int64_t row, int lane) {
                        store_tile(tile, y + block * stride + row * kBlockPixels + lane,
                                   kBlockPixels);
                    });
        float* const swapped = x;
        x = y;
        y = swapped;
        if (!last) continue;
        for (int64_t at = 0; at < p.points; ++at) {
            const float* const lane = x + at / kBlockPixels * stride + at % kBlockPixels;
            for (int64_t n = 0; n < layer->outputs; ++n)
                p.out[at * layer->outputs + n] = lane[n * kBlockPixels];
        }
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
