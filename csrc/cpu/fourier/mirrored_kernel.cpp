#include "fourier/mirrored_kernel.h"

#include "fourier/axis_features-inl.h"
#include "gemm/row_product-inl.h"
#include "simd/rotation-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

DIGAN_FAST_INLINE float wide(float a) { return a; }
DIGAN_FAST_INLINE float wide(Bfloat16 a) { return widened(a); }

template <class Stored>
void pack_rotated(const RotatedPanelPacking& p) {
    using T = Packed<Stored>;
    const Stored* const weight = static_cast<const Stored*>(p.weight);
    const int64_t K = p.sinusoids;
    const bool transposed = p.columns == RotatedColumns::sinusoids;
    const int64_t depth = transposed ? p.outputs : K, columns = transposed ? K : p.outputs;
    const int64_t packed = packed_depth<T>(depth);
    const auto element = [&](int64_t d, int64_t column) {
        const int64_t o = transposed ? d : column, k = transposed ? column : d;
        if (d >= depth) return Rotated{0, 0};
        const Stored* const row = weight + o * 2 * K;
        const Rotated at =
            rotated(wide(row[k]), wide(row[K + k]), p.rotation[k], p.rotation[K + k]);
        return Rotated{at.sine * p.scale, at.cosine * p.scale};
    };
    for (int64_t n = p.first; n < p.last;) {
        const int64_t width = panel_width<T>(columns, n);
        const int64_t count = columns - n < width ? columns - n : width;
        for (int64_t d = 0; d < packed; ++d) {
            T* const sine = panel_at<T>(p.panels[0], n, packed) + d * width;
            T* const cosine = panel_at<T>(p.panels[1], n, packed) + d * width;
            for (int64_t i = 0; i < count; ++i) {
                if constexpr (kPack<T> == 2) {
                    const Rotated even = element(2 * d, n + i), odd = element(2 * d + 1, n + i);
                    sine[i] = pack_bf16x2(even.sine, odd.sine);
                    cosine[i] = pack_bf16x2(even.cosine, odd.cosine);
                } else {
                    const Rotated at = element(d, n + i);
                    const bool round = sizeof(Stored) == sizeof(Bfloat16);
                    sine[i] = round ? to_bfloat16(at.sine) : at.sine;
                    cosine[i] = round ? to_bfloat16(at.cosine) : at.cosine;
                }
            }
            for (int64_t i = count; i < width; ++i) sine[i] = cosine[i] = T{};
        }
        n += width;
    }
}

template <class Stored>
void gemm(const MirroredGemm& p) {
    using T = Packed<Stored>;
    const Epilogue how{.activation = p.activation.activation,
                       .gain = p.activation.gain,
                       .clamp = p.activation.clamp,
                       .round = Number::float32};
    const Vec scale = broadcast(p.scale);
    const int64_t K = p.sinusoids, depth = packed_depth<T>(K);
    T* const packed[2] = {panel_at<T>(p.packed, 0, K), panel_at<T>(p.packed, p.rows, K)};
    for (int feature = 0; feature < 2; ++feature)
        pack_rows(static_cast<const Stored*>(p.features) + feature * K, p.stride, p.rows, K,
                  packed[feature]);
    // The outputs of pixels and of their images from the products with cosines and with sines.
    const auto finish = [&]<int R, int V>(const Tile<R, V>& even, const float* odd, int64_t row,
                                          int64_t n) DIGAN_FAST_INLINE_LAMBDA {
        const auto count = [&](int v)
                               DIGAN_FAST_INLINE_LAMBDA { return p.columns - n - v * Vec::width; };
        for (int image = 0; image < 2; ++image) {
            Tile<R, V> tile = even;
            const Vec sign = broadcast(image ? -1.0f : 1.0f);
            for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                z = fma(sign, load(odd + (r * V + v) * Vec::width), z);
            });
            if (p.bias) {
                for_each_vector(tile, [&](Vec& z, int, int v) DIGAN_FAST_INLINE_LAMBDA {
                    z = fma(scale, load_some(p.bias + n + v * Vec::width, count(v)), z);
                });
            }
            if (const void* const* const base = p.base[image]) {
                for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                    const auto from = static_cast<const Stored*>(base[row + r]);
                    if (from) z = fma(scale, load_some(from + n + v * Vec::width, count(v)), z);
                });
            }
            apply_epilogue(tile, how);
            store_rows<Stored>(tile, p.out[image] + row, n, p.columns, p.non_temporal);
        }
    };
    const auto prefetch_bases = [&](int rows, int vectors, int64_t row, int64_t n) {
        for (int image = 0; p.base[0] && image < 2; ++image)
            for (int r = 0; r < rows; r += 4)
                if (const auto base = static_cast<const Stored*>(p.base[image][row + r]))
                    for (int v = 0; v < vectors; ++v) prefetch(base + n + v * Vec::width);
    };
    const auto on_amx = [&](auto mr, int64_t row, int64_t n, int64_t width, float* sums,
                            const auto& between) {
        prefetch_bases(decltype(mr)::value, 2, row, n);
        for (int feature = 0; feature < 2; ++feature)
            amx_product<decltype(mr)::value, Streamed::panel>(
                sums + feature * kProductSums, depth, packed[feature] + row * depth,
                panel_at<T>(p.panels[feature], n, depth), width,
                [&](const Pace& pace) { between(pace.among(feature, 2)); });
    };
    const auto finish_slice = [&](const float* sums, int64_t row, int64_t n) {
        finish(slice_of(sums + kProductSums), sums, row, n);
    };
    for_each_tile_of_rows<T, 2>(
        p.rows, p.columns, [](int64_t, int64_t) {}, on_amx, finish_slice,
        [&](auto mr, auto vectors, int64_t row, int64_t n, int64_t width) {
            constexpr int R = decltype(mr)::value, V = decltype(vectors)::value;
            prefetch_bases(R, V, row, n);
            // The sines' products are kept in memory: both in registers would take twice as
            // many.
            alignas(64) float odd[R * V * Vec::width];
            Tile<R, V> tile;
            const auto multiplied = [&](int feature) {
                for (auto& z : tile.v)
                    for (Vec& columns : z) columns = broadcast(0.0f);
                microkernel(tile, depth, packed[feature] + row * depth, R,
                            panel_at<T>(p.panels[feature], n, depth), width);
            };
            multiplied(0);
            store_tile(tile, odd, V * Vec::width);
            multiplied(1);
            finish(tile, odd, row, n);
        });
    if (p.non_temporal) fence_streaming();
}

template <class Stored>
void rotate_back(const RotationBackward& p) {
    const int64_t K = p.sinusoids;
    const float *const sin = p.rotation, *const cos = sin + K;
    float* const dphase = p.dphase;
    for (int64_t o = 0; o < p.outputs; ++o) {
        const float *const dsine = p.drotated[0] + o * K, *const dcosine = p.drotated[1] + o * K;
        const Stored* const weight_sin = static_cast<const Stored*>(p.weight) + o * 2 * K;
        const Stored* const weight_cos = weight_sin + K;
        float *const dweight_sin = p.dweight + o * 2 * K, *const dweight_cos = dweight_sin + K;
#pragma omp simd
        for (int64_t k = 0; k < K; ++k) {
            const Rotated back = rotated(dsine[k], dcosine[k], -sin[k], cos[k]);
            dweight_sin[k] += back.sine;
            dweight_cos[k] += back.cosine;
            // Σ_o dQ∘P − dP∘Q is the same for the parts rotated back.
            dphase[k] += back.cosine * wide(weight_sin[k]) - back.sine * wide(weight_cos[k]);
        }
    }
}

}  // namespace

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
    with_stored(p.number, [&](auto stored) { pack_rotated<typename decltype(stored)::Type>(p); });
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
        if (p.rounded) narrow(static_cast<Bfloat16*>(p.rounded) + r * p.stride, sine, 2 * K);
    }
}

void mirrored_gemm(const MirroredGemm& p) {
    const AmxScope amx;
    with_stored(p.number, [&](auto stored) { gemm<typename decltype(stored)::Type>(p); });
}

void even_odd_gradient(const EvenOddGradient& p) {
    for (int image = 0; image < 2; ++image) {
        for (int64_t family = 0; p.dbase[image] && family < p.rows / 4; ++family) {
            void* const dbase = p.dbase[image][family];
            if (!dbase) continue;
            const float *const a = p.dz[image] + 4 * family * p.stride, *const b = a + p.stride,
                               *const c = b + p.stride, *const d = c + p.stride;
            if (p.number == Number::bfloat16) {
                auto* const to = static_cast<Bfloat16*>(dbase);
#pragma omp simd
                for (int64_t n = 0; n < p.columns; ++n)
                    to[n] = narrowed((a[n] + b[n]) + (c[n] + d[n]));
            } else {
                auto* const to = static_cast<float*>(dbase);
#pragma omp simd
                for (int64_t n = 0; n < p.columns; ++n) to[n] = (a[n] + b[n]) + (c[n] + d[n]);
            }
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
        if (p.number != Number::bfloat16) continue;
        for (int feature = 0; feature < 2; ++feature)
            narrow(static_cast<Bfloat16*>(p.rounded[feature]) + r * p.stride,
                   p.dz[feature] + r * p.stride, p.columns);
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
    with_stored(p.number, [&](auto stored) { rotate_back<typename decltype(stored)::Type>(p); });
}

}  // namespace digan_fast::DIGAN_FAST_ISA
