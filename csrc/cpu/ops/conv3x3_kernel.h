#pragma once

// The interface of ops/conv3x3_kernel.cpp, compiled for each instruction set, to ops/conv3x3.cpp,
// compiled once: the transforms before and after the products of minimal filtering
// (ops/toom_cook.h). A *product* has an index along y and one along x.

#include <cstdint>

#include "digan_fast/bias_act.h"

namespace digan_fast {

// Stride 1; stride 2; the adjoint of stride 2; and the gradients of the outputs of the first two.
enum class PatchKind { same, halving, doubling, same_gradient, halving_gradient };

// Along each axis, whichever the kind, taps have six factors; products from the sixth on share it.
constexpr int64_t kTapFactors = 6;
constexpr int64_t tap_factor_of(int64_t product) {
    return product < kTapFactors ? product : kTapFactors - 1;
}

// Extents along one axis; a patch's first sample is at patch · step − before.
struct PatchExtents {
    int64_t products;
    int64_t step;      // samples from one patch of inputs to the next
    int64_t out_step;  // outputs of a patch
};

constexpr PatchExtents extents_of(PatchKind kind) {
    if (kind == PatchKind::same) return {.products = 6, .step = 4, .out_step = 4};
    if (kind == PatchKind::halving) return {.products = 9, .step = 8, .out_step = 4};
    if (kind == PatchKind::doubling) return {.products = 9, .step = 4, .out_step = 8};
    return {.products = kind == PatchKind::same_gradient ? 6 : 9, .step = 4, .out_step = 0};
}

// Patches [first, first + count) of images [height, width, channels]; a row of patches has
// `columns`.
struct Patches {
    PatchKind kind;
    int64_t height, width;
    int64_t channels;       // that are read or written
    int64_t pixel_stride;   // elements from one pixel to the next
    int64_t before;         // samples, or outputs, of the first patch that lie outside
    int64_t rows, columns;  // patches of an image
    int64_t first, count;

    Patches part(int64_t from, int64_t number) const {
        Patches some = *this;
        some.first = from;
        some.count = number;
        return some;
    }
};

// For one product along y, factors[product along x][patch][channel].
struct PatchFactors {
    Patches patches;
    const void* images;
    Number number;  // of the images
    float* factors;
    int64_t factor_stride;   // elements from one patch to the next
    int64_t product_stride;  // elements from one product to the next
    int64_t product;         // along y
};

// What the products [product along x][patch][channel] of one product along y add to the images.
// Those along y are added in order.
struct PatchOutputs {
    Patches patches;
    float* images;
    const float* products;
    int64_t row_stride;
    int64_t product_stride;
    int64_t product;
};

// Rounds outputs [patch][out_step][out_step][channel] into images of bfloat16.
struct PatchRounding {
    Patches patches;
    void* images;
    const float* outputs;
};

// Weights' factors [along y][along x] in panels of columns [depth][width]
// (gemm/pixel_rows_kernel.h): the taps of (k, n) begin at weight[k · depth_stride + n ·
// column_stride].
struct TapFactors {
    PatchKind kind;
    bool flipped;  // along both axes
    const float* weight;
    float gain;
    int64_t depth, columns;
    int64_t depth_stride, column_stride;
    float* panels;
    int64_t factor_stride;  // elements from one factor's panels to the next
    int64_t first, last;    // columns; multiples of 32 or the end
};

// taps[3 · y + x][element] += what the gradients [factor along x][element] of one factor along y
// contribute.
struct TapGradients {
    PatchKind kind;
    float* taps;
    const float* factors;
    int64_t elements;
    int64_t factor;
};

void patch_factors(const PatchFactors& params);
void patch_outputs(const PatchOutputs& params);
void patch_rounding(const PatchRounding& params);
void tap_factors(const TapFactors& params);
void tap_gradients(const TapGradients& params);

}  // namespace digan_fast
