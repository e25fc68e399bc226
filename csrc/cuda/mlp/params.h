#pragma once

#include <cstdint>

#include "digan_fast/coord_mlp.h"

namespace digan_fast::cuda {

// A layer as the kernels find it in the workspace. Its tables are float32, each padded to the
// tile's width or to a row of coordinates: [Width] biases ω·b, γ, ω·β, s, t; of what `skip`
// appends, or of the first layer's coordinates, s and t [extra] each; [dimensions][Width] weights
// of coordinates; [few][Width] weights of a last layer that is a sum over the tile.
struct MlpLayer {
    std::int64_t tables;  // of a sample, counted in float32 numbers from its first
    int outputs;
    int channels;  // of the inputs, those of the layer before
    int steps;     // of its product over channels
    int feature_steps;
    int extra;
    int dimensions;  // coordinates that it multiplies by fma
    Activation activation;
    bool skip;
};

enum MlpTable { kBias, kScale, kShift, kInputScale, kInputShift, kWidthTables };

// What a launch that packs a layer is told.
struct MlpPackParams {
    unsigned char* packed;       // of the layer's first step
    std::int64_t packed_stride;  // bytes of a sample; 0: shared by all
    float* tables;
    std::int64_t table_stride;  // numbers of a sample
    MlpLayer* place;
    MlpLayer layer;
    const float* weight;
    const float *bias, *scale, *shift, *input_scale, *input_shift;  // [B, …], or null
    std::int64_t weight_stride;                                     // of a sample; 0: shared by all
    int inputs, few;
    float omega;
    int blocks;  // of a sample
};

struct MlpParams {
    float* out;                // [B, N, outputs]
    const float* coordinates;  // [B, N, dimensions], or [N, dimensions]
    const unsigned char* packed;
    std::int64_t packed_stride;
    const float* tables;
    std::int64_t table_stride;
    const MlpLayer* layers;
    std::int64_t points, tiles;  // of a sample
    int count;
    int products;  // all layers, or all but a last one that is a sum over the tile
    int steps;     // of all products
    int dimensions;
    bool own_coordinates;
    bool few;  // the last layer is a sum over the tile
};

// Packs a layer; evaluates. Each element type of the operands is compiled in a source of its own.
template <class Dtype>
void pack_mlp_layer(const MlpPackParams& params, int width, std::int64_t samples,
                    CudaStream stream);
template <class Dtype>
void launch_mlp(const MlpParams& params, int width, std::int64_t samples, CudaStream stream);

}  // namespace digan_fast::cuda
