#include "fourier/mirrored_kernel.h"

#include "fourier/axis_features-inl.h"
#include "gemm/epilogue_gradient-inl.h"
#include "gemm/row_product-inl.h"
#include "simd/rotation-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// P and Q of some outputs and sinusoids.
template <class Stored>
struct RotatedPart {
    static constexpr int64_t kOutputs = 32, kSinusoids = 64;
    Stored of[2][kOutputs][kSinusoids];

    RotatedPart(const RotatedPanelPacking& p, int64_t output, int64_t outputs, int64_t sinusoid,
                int64_t sinusoids) {
        const int64_t K = p.sinusoids;
        const float *const sin = p.rotation + sinusoid, *const cos = sin + K;
        for (int64_t o = 0; o < outputs; ++o) {
            const Stored* const sines =
                static_cast<const Stored*>(p.weight) + (output + o) * 2 * K + sinusoid;
            const Stored* const cosines = sines + K;
#pragma omp simd
            for (int64_t k = 0; k < sinusoids; ++k) {
                const Rotated at = rotated(widened(sines[k]), widened(cosines[k]), sin[k], cos[k]);
                of[0][o][k] = narrowed_to<Stored>(at.sine * p.scale);
                of[1][o][k] = narrowed_to<Stored>(at.cosine * p.scale);
            }
        }
    }
};

template <class Stored>
void pack_rotated(const RotatedPanelPacking& p) {
    using T = Packed<Stored>;
    using Part = RotatedPart<Stored>;
    const bool transposed = p.columns == RotatedColumns::sinusoids;
    const int64_t depth = transposed ? p.outputs : p.sinusoids;
    const int64_t columns = transposed ? p.sinusoids : p.outputs, packed = packed_depth<T>(depth);
    const int64_t together = transposed ? Part::kOutputs : Part::kSinusoids;
    for (int64_t n = p.first; n < p.last;) {
        const int64_t width = panel_width<T>(columns, n);
        const int64_t count = columns - n < width ? columns - n : width;
        for (int64_t d = 0; d < depth; d += together) {
            const int64_t some = depth - d < together ? depth - d : together;
            const Part part = transposed ? Part(p, d, some, n, count) : Part(p, n, count, d, some);
            for (int feature = 0; feature < 2; ++feature) {
                const Stored* const from = part.of[feature][0];
                T* const to =
                    panel_at<T>(p.panels[feature], n, packed) + packed_depth<T>(d) * width;
                if (transposed) {
                    pack_along_rows(from, Part::kSinusoids, some, count, width, to, width);
                } else {
                    pack_transposed(from, Part::kSinusoids, count, some, to, width);
                }
            }
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
    const auto on_amx = [&](auto mr, int64_t row, int64_t n, int64_t width,
                            auto& due) DIGAN_FAST_INLINE_LAMBDA {
        prefetch_bases(decltype(mr)::value, 2, row, n);
        for (int feature = 0; feature < 2; ++feature)
            amx_product<decltype(mr)::value, Streamed::panel>(
                due.sums().of(feature), depth, packed[feature] + row * depth,
                panel_at<T>(p.panels[feature], n, depth), width, due);
    };
    const auto finish_slice =
        [&](const float* sums, int64_t row, int64_t n)
            DIGAN_FAST_INLINE_LAMBDA { finish(slice_of(sums + kProductSums), sums, row, n); };
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

// Columns of a family's gradients that are in the level-one cache together.
constexpr int64_t kTogether = 512;

template <class Stored>
void backward(const MirroredActivationBackward& p) {
    const EpilogueGradient<Stored> epilogue(p.activation);
    const auto of = [&](Vec grad, Vec out, int64_t)
                        DIGAN_FAST_INLINE_LAMBDA { return epilogue.of(grad, out); };
    alignas(64) float dz[2][kFamily][kTogether];
    for (int64_t family = 0; family < p.rows / kFamily; ++family) {
        const int64_t row = family * kFamily;
        for (int64_t first = 0; first < p.columns; first += kTogether) {
            const int64_t columns = p.columns - first < kTogether ? p.columns - first : kTogether;
            for (int image = 0; image < 2; ++image)
                for (int r = 0; r < kFamily; ++r) {
                    const auto grad = static_cast<const Stored*>(p.grad[image][row + r]);
                    const auto out = static_cast<const Stored*>(p.out[image][row + r]);
                    float* const to = dz[image][r];
                    if (grad) {
                        gradient_row(grad + first, out + first, to, p.dbias + first, columns, of);
                    } else {
                        memset(to, 0, columns * sizeof(float));
                    }
                }
            for (int64_t n = 0; n < columns; n += Vec::width) {
                const int64_t count = columns - n;
                Vec z[2][kFamily];
                unrolled<2>([&](auto image) DIGAN_FAST_INLINE_LAMBDA {
                    unrolled<kFamily>([&](auto r) DIGAN_FAST_INLINE_LAMBDA {
                        z[image.value][r.value] = load_some(dz[image.value][r.value] + n, count);
                    });
                    auto* const dbase = static_cast<Stored*>(p.dbase[image.value][family]);
                    const Vec(&family_dz)[kFamily] = z[image.value];
                    if (dbase)
                        store_some(
                            dbase + first + n, count,
                            add(add(family_dz[0], family_dz[1]), add(family_dz[2], family_dz[3])));
                });
                unrolled<kFamily>([&](auto r) DIGAN_FAST_INLINE_LAMBDA {
                    const Vec at = z[0][r.value], across = z[1][r.value];
                    const int64_t to = (row + r.value) * p.stride + first + n;
                    store_some(static_cast<Stored*>(p.dz[0]) + to, count, sub(at, across));
                    store_some(static_cast<Stored*>(p.dz[1]) + to, count, add(at, across));
                });
            }
        }
    }
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
            dphase[k] += back.cosine * widened(weight_sin[k]) - back.sine * widened(weight_cos[k]);
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

void mirrored_activation_backward(const MirroredActivationBackward& p) {
    with_stored(p.number, [&](auto stored) { backward<typename decltype(stored)::Type>(p); });
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
