#include "fourier/mirrored_kernel.h"

#include "fourier/axis_features-inl.h"
#include "gemm/pack_rows-inl.h"
#include "simd/rotation-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

void axis_feature_table(const AxisFeatureTable& p) {
    const AxisPositions axis{
        .frequency = p.frequency,
        .phase = nullptr,
        .sinusoids = p.sinusoids,
        .axis = p.axis,
        .start = p.start,
        .step = p.step,
        .side = p.side,
    };
    for (int64_t begin = 0; begin < p.pixels; begin += 8) {
        const int64_t count = p.pixels - begin < 8 ? p.pixels - begin : 8;
        axis_features(axis, begin, count, [&](int64_t k, int64_t i, float sine, float cosine) {
            float* const pixel = p.features + (begin + i) * 2 * p.sinusoids;
            pixel[k] = sine;
            pixel[p.sinusoids + k] = cosine;
        });
    }
}

void pack_rotated_panels(const RotatedPanelPacking& p) {
    const int64_t K = p.sinusoids;
    const bool transposed = p.columns == RotatedColumns::sinusoids;
    const int64_t depth = transposed ? p.outputs : K, columns = transposed ? K : p.outputs;
    for (int64_t n = p.first; n < p.last;) {
        const int64_t width = panel_width(columns, n);
        const int64_t count = columns - n < width ? columns - n : width;
        for (int64_t d = 0; d < depth; ++d) {
            float* const sine = p.panels[0] + n * depth + d * width;
            float* const cosine = p.panels[1] + n * depth + d * width;
            for (int64_t i = 0; i < count; ++i) {
                const int64_t o = transposed ? d : n + i, k = transposed ? n + i : d;
                const float* const row = p.weight + o * 2 * K;
                const Rotated at = rotated(row[k], row[K + k], p.rotation[k], p.rotation[K + k]);
                sine[i] = at.sine * p.scale;
                cosine[i] = at.cosine * p.scale;
            }
            for (int64_t i = count; i < width; ++i) sine[i] = cosine[i] = 0;
        }
        n += width;
    }
}

void row_features(const RowFeatures& p) {
    const int64_t K = p.sinusoids;
    for (int64_t r = 0; r < p.rows; ++r) {
        const float *const sin_x = p.across[r], *const cos_x = sin_x + K;
        const float *const sin_y = p.down[r], *const cos_y = sin_y + K;
        float *const sine = p.features + r * p.stride, *const cosine = sine + K;
#pragma omp simd
        for (int64_t k = 0; k < K; ++k) {
            sine[k] = sin_y[k] * cos_x[k] + cos_y[k] * sin_x[k];
            cosine[k] = cos_y[k] * cos_x[k] - sin_y[k] * sin_x[k];
        }
    }
}

void mirrored_gemm(const MirroredGemm& p) {
    const Epilogue how{.activation = p.activation.activation,
                       .gain = p.activation.gain,
                       .clamp = p.activation.clamp,
                       .round = false};
    const Vec scale = broadcast(p.scale), minus = broadcast(-1.0f);
    const int64_t K = p.sinusoids;
    pack_rows(p.features, p.stride, p.rows, 2 * K, p.packed);
    for_each_tile_of_rows(
        p.rows, p.columns, [&](auto mr, auto vectors, int64_t row, int64_t n, int64_t width) {
            constexpr int R = decltype(mr)::value, V = decltype(vectors)::value;
            const float* const features = p.packed + row * 2 * K;
            for (int image = 0; p.base[0] && image < 2; ++image)
                for (int r = 0; r < R; r += 4)
                    if (const float* const base = p.base[image][row + r])
                        for (int v = 0; v < V; ++v) prefetch(base + n + v * Vec::width);
            // The sines' products are kept in memory: both in registers would take twice as many.
            alignas(64) float odd[R * V * Vec::width];
            Tile<R, V> tile;
            const auto multiplied = [&](int feature) {
                for (auto& z : tile.v)
                    for (Vec& columns : z) columns = broadcast(0.0f);
                microkernel(tile, K, features + feature * K * R, R, p.panels[feature] + n * K,
                            width);
            };
            multiplied(0);
            store_tile(tile, odd, V * Vec::width);
            multiplied(1);
            const Tile<R, V> even = tile;
            for (int image = 0; image < 2; ++image) {
                float* const* const out = p.out[image] + row;
                for (int r = 0; r < R; ++r) {
                    if (!out[r]) continue;
                    for (int v = 0; v < V; ++v) {
                        const int64_t column = n + v * Vec::width, count = p.columns - column;
                        const Vec sine = load(odd + (r * V + v) * Vec::width);
                        Vec z = image ? fma(minus, sine, even.v[r][v]) : add(even.v[r][v], sine);
                        if (p.bias) z = fma(scale, load_some(p.bias + column, count), z);
                        if (p.base[image])
                            z = fma(scale, load_some(p.base[image][row + r] + column, count), z);
                        tile.v[r][v] = z;
                    }
                }
                apply_epilogue(tile, how);
                for (int r = 0; r < R; ++r) {
                    if (!out[r]) continue;
                    for (int v = 0; v < V; ++v) {
                        const int64_t column = n + v * Vec::width;
                        if (p.non_temporal) {
                            store_streaming(out[r] + column, tile.v[r][v]);
                        } else {
                            store_some(out[r] + column, p.columns - column, tile.v[r][v]);
                        }
                    }
                }
            }
        });
    if (p.non_temporal) fence_streaming();
}

void even_odd_gradient(const EvenOddGradient& p) {
    for (int image = 0; image < 2; ++image) {
        for (int64_t family = 0; p.dbase[image] && family < p.rows / 4; ++family) {
            float* const dbase = p.dbase[image][family];
            if (!dbase) continue;
            const float *const a = p.dz[image] + 4 * family * p.stride, *const b = a + p.stride,
                               *const c = b + p.stride, *const d = c + p.stride;
#pragma omp simd
            for (int64_t n = 0; n < p.columns; ++n) dbase[n] = (a[n] + b[n]) + (c[n] + d[n]);
        }
    }
    for (int64_t r = 0; r < p.rows; ++r) {
        float *const one = p.dz[0] + r * p.stride, *const other = p.dz[1] + r * p.stride;
#pragma omp simd
        for (int64_t n = 0; n < p.columns; ++n) {
            const float at = one[n], across = other[n];
            one[n] = at - across;
            other[n] = at + across;
        }
    }
}

void row_features_gradient(const RowFeaturesGradient& p) {
    const int64_t K = p.sinusoids;
    for (int64_t r = 0; r < p.rows; ++r) {
        const float *const sine = p.features + r * p.stride, *const cosine = sine + K;
        const float *const dsin = p.dfeatures + r * p.stride, *const dcos = dsin + K;
        const float x = p.x[r], y = p.y[r];
        float *const by_x = p.by_x, *const by_y = p.by_y;
#pragma omp simd
        for (int64_t k = 0; k < K; ++k) {
            const float dtheta = dsin[k] * cosine[k] - dcos[k] * sine[k];
            by_x[k] += dtheta * x;
            by_y[k] += dtheta * y;
        }
    }
}

void rotation_backward(const RotationBackward& p) {
    const int64_t K = p.sinusoids;
    const float *const sin = p.rotation, *const cos = sin + K;
    float* const dphase = p.dphase;
    for (int64_t o = 0; o < p.outputs; ++o) {
        const float *const dsine = p.drotated[0] + o * K, *const dcosine = p.drotated[1] + o * K;
        const float *const weight_sin = p.weight + o * 2 * K, *const weight_cos = weight_sin + K;
        float *const dweight_sin = p.dweight + o * 2 * K, *const dweight_cos = dweight_sin + K;
#pragma omp simd
        for (int64_t k = 0; k < K; ++k) {
            const Rotated back = rotated(dsine[k], dcosine[k], -sin[k], cos[k]);
            dweight_sin[k] += back.sine;
            dweight_cos[k] += back.cosine;
            // Σ_o dQ∘P − dP∘Q is the same for the parts rotated back.
            dphase[k] += back.cosine * weight_sin[k] - back.sine * weight_cos[k];
        }
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
