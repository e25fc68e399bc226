#include "render/block_kernel.h"

#include <algorithm>

#include "fourier/axis_features-inl.h"
#include "render/block_features-inl.h"
#include "render/block_int8-inl.h"
#include "render/block_terms-inl.h"
#include "simd/rotation-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Sines in the first rows, cosines from row `depth` on.
inline void store_features(float* out, const Block& block, int64_t sinusoids, int64_t depth,
                           bool round) {
    const auto store_feature = [round](float* to, Vec feature) {
        store(to, feature);
        for (int i = 0; round && i < Vec::width; ++i) to[i] = to_bfloat16(to[i]);
    };
    features_of<true>(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        float* const to = out + k * kBlockPixels + v * Vec::width;
        store_feature(to, sin);
        store_feature(to + depth * kBlockPixels, cos);
    });
}

// In pairs of sinusoids; the partner of an odd last one is zero.
template <class T>
    requires(kPack<T> == 2)
void store_features(T* out, const Block& block, int64_t sinusoids, int64_t depth, bool) {
    Vec even[2][kBlockPixels / Vec::width];
    features_of<true>(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        T* const to = out + k / 2 * kBlockPixels + v * Vec::width;
        if (k & 1) {
            store_pairs(to, even[0][v], sin);
            store_pairs(to + depth * kBlockPixels, even[1][v], cos);
        } else if (k + 1 == sinusoids) {
            store_pairs(to, sin, broadcast(0.0f));
            store_pairs(to + depth * kBlockPixels, cos, broadcast(0.0f));
        }
        even[0][v] = sin;
        even[1][v] = cos;
    });
}

// Q·cos of R rows of a frame; P·sin is kept in memory: both in registers would take twice as many.
template <int R, class T>
DIGAN_FAST_INLINE Tile<R> sine_and_cosine_parts(const RotatedLayer& weights, int64_t row,
                                                int64_t depth, const T* at, float* odd) {
    Tile<R> tile = {};
    microkernel(tile, depth, panel_at<T>(weights.sine, row, depth), R, at, kBlockPixels);
    store_tile(tile, odd, kNR);
    tile = {};
    microkernel(tile, depth, panel_at<T>(weights.cosine, row, depth), R, at + depth * kBlockPixels,
                kBlockPixels);
    return tile;
}

template <int R, class T>
Tile<R> sine_and_cosine_parts(const Scattered& lanes, int lane, int64_t row, int64_t depth,
                              const T* at, float* odd) {
    alignas(64) float even[R * kNR];
    of_each_frame<R>(lanes, lane, odd, even, [&](const RotatedLayer& weights, float* p, float* q) {
        store_tile(sine_and_cosine_parts<R>(weights, row, depth, at, p), q, kNR);
    });
    return tile_of<R>(even);
}

// P·sin and Q·cos of R rows on AMX, [R][kNR] each.
template <int R, class T, class Epilogues>
DIGAN_FAST_INLINE void sine_and_cosine_on_amx(const Block& block, int64_t row, int64_t depth,
                                              const T* at, Epilogues& due) {
    const auto sums = due.sums();
    using Sums = decltype(due.sums());
    const auto product = [&](const RotatedLayer& weights, const Sums& p,
                             const Sums& q) DIGAN_FAST_INLINE_LAMBDA {
        amx_product<R, Streamed::columns>(p, depth, panel_at<T>(weights.sine, row, depth), at,
                                          kBlockPixels, due);
        amx_product<R, Streamed::columns>(q, depth, panel_at<T>(weights.cosine, row, depth),
                                          at + depth * kBlockPixels, kBlockPixels, due);
    };
    if (block.weights) return product(*block.weights, sums.of(0), sums.of(1));
    of_each_frame<R>(*block.scattered, 0, sums.of(0).to, sums.of(1).to,
                     [&](const RotatedLayer& weights, float* p, float* q) DIGAN_FAST_INLINE_LAMBDA {
                         product(weights, {sums.tiles, p}, {sums.tiles, q});
                         sums.tiles.leave();
                     });
}

// act(start + Q·cos ± P·sin) of a group's blocks, or of pairs of blocks, from their features `in`.
template <class T, class Start, class How, class Out>
void feature_gemm(const BlockGroup& p, const Start& start, const T* in, int64_t in_stride,
                  const How& how, const Out& out) {
    const int64_t depth = p.stage->rotated_depth;
    const int images = p.mirror_pairs ? 2 : 1;
    const auto finish = mirrored_finish(images, start, how, out);
    const auto on_amx = [&](auto mr, int64_t row, int block, auto& due) DIGAN_FAST_INLINE_LAMBDA {
        sine_and_cosine_on_amx<decltype(mr)::value>(p.blocks[block], row, depth,
                                                    in + block * in_stride, due);
    };
    const auto finish_slice = [&](const float* sums, int64_t row,
                                  int64_t block) DIGAN_FAST_INLINE_LAMBDA {
        finish(slice_of(sums + kProductSums), sums, static_cast<int>(block), row, 0);
    };
    for_each_tile_of_blocks<T, float, 2>(
        p.stage->outputs, p.block_count, images, on_amx, finish_slice,
        [&](auto mr, int64_t row, int block, int lane) {
            constexpr int R = decltype(mr)::value;
            const Block& own = p.blocks[block];
            const T* const at = in + block * in_stride + lane;
            alignas(64) float odd[R * kNR];
            finish(own.weights
                       ? sine_and_cosine_parts<R>(*own.weights, row, depth, at, odd)
                       : sine_and_cosine_parts<R>(*own.scattered, lane, row, depth, at, odd),
                   odd, block, row, lane);
        });
}

// The panel of P and Q that begins at a row, in float32.
template <int R>
void rotate_panel(const WeightRotation& p, int64_t row, float* P, float* Q) {
    const int64_t K = p.sinusoids;
    const float *const sin = p.rotation, *const cos = sin + K;
    const float* const sine = panel_at<float>(p.sine.panels, row, K);
    const float* const cosine = panel_at<float>(p.cosine.panels, row, K);
    for (int64_t k = 0; k < K; ++k) {
        rotate<R>(sine + k * R, cosine + k * R, sin[k], cos[k], P + k * R, Q + k * R);
        for (int r = 0; p.precision == Precision::bfloat16 && r < R; ++r) {
            P[k * R + r] = to_bfloat16(P[k * R + r]);
            Q[k * R + r] = to_bfloat16(Q[k * R + r]);
        }
    }
}

#if DIGAN_FAST_AMX
// The same for a panel of AMX, whose weights before rotation are in rows.
template <int R>
    requires(kOnAmx<R>)
void rotate_panel(const WeightRotation& p, int64_t row, Bf16x2* P, Bf16x2* Q) {
    const int64_t K = p.sinusoids;
    const float *const sin = p.rotation, *const cos = sin + K;
    for (int64_t r = 0; r < R; ++r) {
        const float* const sine = panel_at<float>(p.sine.panels, row + r, K);
        const float* const cosine = panel_at<float>(p.cosine.panels, row + r, K);
        for (int64_t k = 0; k < K; k += 2 * kTmmSide) {
            const int64_t count = std::min<int64_t>(2 * kTmmSide, K - k);
            const auto rotate_to = [&](Bf16x2* odd, Bf16x2* even) {
                rotate_pairs(sine + k, cosine + k, sin + k, cos + k, count, odd, even);
            };
            const int64_t at = panel_index<R>(p.depth, k / 2, r);
            if (k / 2 + kTmmSide <= p.depth) {
                rotate_to(P + at, Q + at);
                continue;
            }
            Bf16x2 pairs[2][kTmmSide];
            rotate_to(pairs[0], pairs[1]);
            for (int64_t i = 0; i < (count + 1) / 2; ++i) {
                P[at + i * R] = pairs[0][i];
                Q[at + i * R] = pairs[1][i];
            }
        }
    }
}
#endif

// The same for pairs of sinusoids; the partner of an odd last one is zero.
template <int R, class T>
    requires(kPack<T> == 2 && !kOnAmx<R>)
void rotate_panel(const WeightRotation& p, int64_t row, T* P, T* Q) {
    const int64_t K = p.sinusoids;
    const float *const sin = p.rotation, *const cos = sin + K;
    const float* const sine = panel_at<float>(p.sine.panels, row, K);
    const float* const cosine = panel_at<float>(p.cosine.panels, row, K);
    for (int64_t k = 0; k < K; k += 2) {
        float even[2][R], odd[2][R] = {};
        rotate<R>(sine + k * R, cosine + k * R, sin[k], cos[k], even[0], even[1]);
        if (k + 1 < K)
            rotate<R>(sine + (k + 1) * R, cosine + (k + 1) * R, sin[k + 1], cos[k + 1], odd[0],
                      odd[1]);
        store_pairs<R>(P + k / 2 * R, even[0], odd[0]);
        store_pairs<R>(Q + k / 2 * R, even[1], odd[1]);
    }
}

template <class T>
void rotate_panels(const WeightRotation& p) {
    for_each_panel<T>(p.last - p.first, [&](auto mr, int64_t from) {
        const int64_t row = p.first + from;
        rotate_panel<decltype(mr)::value>(p, row, panel_at<T>(p.to.sine, row, p.depth),
                                          panel_at<T>(p.to.cosine, row, p.depth));
    });
}

// Panels and activations have elements T: float, or pairs of bfloat16.
template <class T, Streamed kStreamed = Streamed::columns>
struct GroupRenderer {
    using Base = T;
    const BlockGroup& p;
    const bool round;
    const Number rounded = round ? Number::bfloat16 : Number::float32;
    const int64_t stride = p.widest * kBlockPixels;
    T* const scratch[3] = {reinterpret_cast<T*>(p.scratch[0]), reinterpret_cast<T*>(p.scratch[1]),
                           reinterpret_cast<T*>(p.scratch[2])};

    // Stores activations to the rows of `to`.
    auto storing(T* to) const {
        return [to, stride = stride](const auto& tile, int block, int64_t row, int lane) {
            store_tile(tile, to + block * stride + packed_row<T>(row) * kBlockPixels + lane,
                       kBlockPixels);
        };
    }

    // The first layer, of features, which it computes.
    template <class Start>
    void features(const Start& start, T* to) const {
        const Stage& stage = *p.stage;
        for (int b = 0; b < p.block_count; b += p.mirror_pairs ? 2 : 1)
            store_features(scratch[0] + b * stride, p.blocks[b], stage.sinusoids,
                           stage.rotated_depth, round);
        with_lrelu<T>(epilogue_of(stage.sine, rounded), [&](const auto& how) {
            feature_gemm(p, start, scratch[0], stride, how, storing(to));
        });
    }

    template <class Out>
    void layer(const PackedLayer& layer, const Epilogue& epilogue, const T* from,
               const Out& out) const {
        with_lrelu<T>(epilogue, [&](const auto& how) {
            gemm<T, kStreamed>(layer, p.block_count, Bias{layer.bias}, from, stride, how, out);
        });
    }

    void colours(const PackedLayer& to_rgb, const T* x) const { add_colours(p, to_rgb, x, stride); }

    // On AMX, where layers stay in L2, a block goes through all of a stage's before the next one
    // does, so that its activations stay in L1 and panels are streamed: DIGAN's frames at 128² take
    // 0.97 of the time.
    static constexpr bool kBlockByBlock = kMostRows<T> > kMR;
    GroupRenderer<T, Streamed::panel> of(const BlockGroup& block) const { return {block, round}; }

    void run() const { render_levels(*this, p, scratch[1], scratch[2]); }
};

}  // namespace

void block_axis_features(const BlockAxisFeatures& p) {
    // x = 2i/side − 1 to the right, or y = 2(side − 1 − i)/side − 1 upwards.
    // About the centre, −1/side, each is (2i − (side − 1))/side, or its negative.
    const int64_t centre = p.centred ? 1 : 0;
    const bool up = p.axis == Axis::y;
    const int64_t start = up ? p.side - 2 + centre : centre - p.side, step = up ? -2 : 2;
    const AxisPositions axis{
        .frequency = p.frequency,
        .phase = p.phase,
        .sinusoids = p.sinusoids,
        .axis = p.axis,
        .start = start,
        .step = step,
        .side = p.side,
    };
    for (int64_t segment = 0; segment < p.segments; ++segment) {
        float* const features = p.features + segment * p.sinusoids * 2 * p.length;
        axis_features(axis, p.first + segment * p.length, p.length,
                      [&](int64_t k, int64_t i, float sine, float cosine) {
                          features[k * 2 * p.length + i] = sine;
                          features[k * 2 * p.length + p.length + i] = cosine;
                      });
    }
}

void rotate_weights(const WeightRotation& p) {
    if (p.terms) return rotate_weights_terms(p);
#if !DIGAN_FAST_AMX
    if (p.precision == Precision::float32) return rotate_panels<float>(p);
#endif
    rotate_panels<Bfloat16Element>(p);
}

void render_group(const BlockGroup& p) {
#if !DIGAN_FAST_AMX  // which leaves float32 that is not as terms to avx512bf16 (dispatch.cpp)
    if (p.stage->precision == Precision::float32) return GroupRenderer<float>{p, false}.run();
#endif
    const AmxScope amx;
    if (p.stage->precision == Precision::int8) return render_group_int8(p);
    if (p.stage->terms) return render_group_terms(p);
    GroupRenderer<Bfloat16Element>{p, kRoundsBfloat16}.run();
}

}  // namespace digan_fast::DIGAN_FAST_ISA
