#pragma once

#include <cstdint>

#include "digan_fast/coord_mlp.h"

namespace digan_fast::cuda {

// What the backward does with a layer. Operands are of products that the GEMM makes of a chunk's
// points: where they begin in the chunk, in bytes, or −1 where the weights' gradient is not wanted.
struct MlpBack {
    std::int64_t operand;   // what the layer reads of the layer before, [points][Width]
    std::int64_t features;  // what it reads of the encoded coordinates
    std::int64_t gradient;  // that by its product
    std::int64_t sums;      // over a tile's points, counted in float32 numbers from its first
    int steps;              // of the product with the transposed weights over channels
    int feature_steps;
    bool wanted;                       // a gradient of the layer's tensors, or of what it reads
    bool inputs;                       // one of what it reads
    bool adds;                         // layers behind have left gradients of the network's input
    bool weight, shift, scale, input;  // its tensors': bias or shift; input_scale or input_shift
};

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
    MlpBack back;
};

// The sums over a tile's points that belong to a layer, like its tables: [Width] Σ dz, Σ
// dz·product, Σ du·x and Σ du of its inputs x; the latter two of what `skip` appends, or of
// coordinates [extra]; [dimensions][Width] and [few][Width] gradients of weights.
enum MlpSumTable { kShiftSum, kScaleSum, kInputScaleSum, kInputShiftSum, kSumTables };

enum MlpTable { kBias, kScale, kShift, kInputScale, kInputShift, kWidthTables };

// What a launch that packs a layer is told.
struct MlpPackParams {
    unsigned char* packed;       // of the layer's first step
    unsigned char* packed_back;  // of its first transposed step
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

// A chunk of the points: some tiles of each of some samples.
struct MlpBackwardParams {
    MlpParams forward;     // `tiles`: of a sample, in the chunk
    const float* grad;     // [B, N, outputs]
    float* dcoordinates;   // [B, N, dimensions], or null
    unsigned char* chunk;  // operands of products
    float* sums;           // [tile][sum_stride]
    std::int64_t sum_stride;
    float* kept;  // [block][kept_stride]: a tile's products [layer][Width · points], then a
    std::int64_t kept_stride;  // gradient, and that by encoded coordinates
    std::int64_t first_sample, first_tile;
    int all_tiles, blocks;
    bool encoded;
};

// Packs a layer; evaluates; differentiates. Each element type of the operands is compiled in a
// source of its own.
template <class Dtype>
void pack_mlp_layer(const MlpPackParams& params, int width, std::int64_t samples,
                    CudaStream stream);
template <class Dtype>
void launch_mlp(const MlpParams& params, int width, std::int64_t samples, CudaStream stream);
template <class Dtype>
void launch_mlp_backward(const MlpBackwardParams& params, int width, CudaStream stream);

}  // namespace digan_fast::cuda
