#pragma once

// The interface of fourier/mirrored_kernel.cpp, compiled for each instruction set, to
// ops/coord_linear.cpp, compiled once.
//
// With q a pixel's position from the centre of its grid, θ = F·q + φ′. The columns P, Q that
// multiply sin F·q and cos F·q are those of W rotated by φ′ (reference/coord_linear.py), and a
// pixel and its mirror image share both products:
//     z(q) = Q·cos F·q + P·sin F·q,  z(−q) = Q·cos F·q − P·sin F·q.
// A row is such a pair, or one pixel if its mirror image is outside the rectangle.

#include <cstdint>

#include "fourier/axis.h"
#include "gemm/pixel_rows_kernel.h"

namespace digan_fast {

constexpr int64_t kPairs = kStripRows / 2;          // in a strip
constexpr int64_t kMostPairs = kMostStripRows / 2;  // backward
constexpr int kFamily = 4;                          // pixels that share a base

// What the columns of P and Q are: outputs, [K, O], for the product with features; sinusoids,
// [O, K], for the product with dz.
enum class RotatedColumns { outputs, sinusoids };

// P and Q of a picture in panels of columns.
struct RotatedPanelPacking {
    float* panels[2];       // of P, of Q
    const void* weight;     // [O, 2K]
    Number number;          // of weight, and of the elements in the panels
    const float* rotation;  // sin φ′, cos φ′: [2, K]
    int64_t outputs, sinusoids;
    RotatedColumns columns;
    float scale;
    int64_t first, last;  // columns, multiples of 32 or the end
};

// The features of rows, [rows, (sin, cos), K], from those of their grid columns and grid rows.
struct RowFeatures {
    float* features;
    void* rounded;  // the same in bfloat16; or null
    int64_t stride;
    const float* const* across;  // of each row's grid column, [2, K]
    const float* const* down;    // of each row's grid row, [2, K]
    int64_t rows, sinusoids;
};

// out[0][r] = act(start + Q·cos + P·sin), out[1][r] = act(start + Q·cos − P·sin).
struct MirroredGemm {
    void* const* out[2];  // for each row, [columns]; null if there is no pixel
    Number number;        // of out, features, base and the elements in the panels
    const void* features;
    int64_t stride;
    int64_t rows;
    float* packed;  // rows · 2K elements
    const float* panels[2];
    int64_t sinusoids, columns;
    const float* bias;           // [columns], or null
    const void* const* base[2];  // for each row, [columns]; or null
    float scale;                 // of bias and base
    RowActivation activation;    // its gain is in the panels and the scale
    bool non_temporal;
};

// dz = grad · act'(z) · gain, 0 where clamped, of pixels q and their mirror images −q: the
// gradients dz(q) − dz(−q) for the sines and dz(q) + dz(−q) for the cosines, the sums of four rows
// as those of their bases, and dbias += Σ dz.
struct MirroredActivationBackward {
    void* dz[2];  // for the sines, for the cosines
    int64_t stride;
    const void* const* grad[2];  // for each row, [columns]; null if there is no pixel
    const void* const* out[2];   // for each row, [columns], alike
    void* const* dbase[2];       // for each family, [columns]; null if there is none
    Number number;               // of all of these
    int64_t rows, columns;       // whole families
    float* dbias;
    RowActivation activation;  // lrelu, relu or linear
};

// dθ = d sin · cos − d cos · sin at F·q; dθ·x and dθ·y summed over rows.
struct RowFeaturesGradient {
    const float* dfeatures;
    const float* features;
    int64_t stride;
    const float* x;  // of q
    const float* y;
    int64_t rows, sinusoids;
    float* by_x;  // [K]
    float* by_y;  // [K]
};

// dweight += dP, dQ rotated back; dphase += Σ_o dQ∘P − dP∘Q.
struct RotationBackward {
    const float* drotated[2];  // dP, dQ: [O, K]
    const void* weight;        // [O, 2K]
    Number number;             // of weight
    const float* rotation;     // [2, K]
    int64_t outputs, sinusoids;
    float* dweight;  // [O, 2K]
    float* dphase;   // [K]
};

// The features [pixels, 2, K] of pixels at (start + step·i)/side along an axis.
struct AxisFeatureTable {
    float* features;
    const float* frequency;  // [K, 2]
    int64_t sinusoids;
    Axis axis;
    int64_t start, step, side;
    int64_t pixels;
};

void axis_feature_table(const AxisFeatureTable& params);
void pack_rotated_panels(const RotatedPanelPacking& params);
void row_features(const RowFeatures& params);
void mirrored_gemm(const MirroredGemm& params);
void mirrored_activation_backward(const MirroredActivationBackward& params);
void row_features_gradient(const RowFeaturesGradient& params);
void rotation_backward(const RotationBackward& params);

}  // namespace digan_fast
