// Stages in float32 as terms, on AMX. All widths are whole squares.

#include "render/block_features-inl.h"
#include "render/block_terms-inl.h"
#include "simd/rotation-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

#if DIGAN_FAST_AMX

namespace {

// Sines in the first rows, cosines from packed row `depth` on.
void store_features(Terms* out, const Block& block, int64_t sinusoids, int64_t depth) {
    Vec even[2][kBlockPixels / Vec::width];
    features_of<true>(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        if (k & 1) {
            auto* const to = reinterpret_cast<Bf16x2*>(out + terms_index(k - 1) + v * Vec::width);
            store_terms(to, kTermElements, even[0][v], sin);
            store_terms(to + depth * kBlockPixels, kTermElements, even[1][v], cos);
        }
        even[0][v] = sin;
        even[1][v] = cos;
    });
}

struct TermsRenderer {
    using Base = float;
    static constexpr Number rounded = Number::float32;
    const BlockGroup& p;
    const int64_t stride = p.widest * kBlockPixels;
    Terms* const scratch[3] = {reinterpret_cast<Terms*>(p.scratch[0]),
                               reinterpret_cast<Terms*>(p.scratch[1]),
                               reinterpret_cast<Terms*>(p.scratch[2])};

    // Stores activations to the rows of `to`.
    auto storing(Terms* to) const {
        return [this, to](const auto& tile, int block, int64_t row, int lane) {
            store_channels(tile, to + block * stride, row, lane);
        };
    }

    // act(start + Q·cos ± P·sin), from the features in scratch[0].
    template <class Start>
    void features(const Start& start, Terms* to) const {
        const Stage& stage = *p.stage;
        const int64_t depth = stage.rotated_depth, steps = depth / (kTerms * kTmmSide);
        const int images = p.mirror_pairs ? 2 : 1;
        for (int b = 0; b < p.block_count; b += images)
            store_features(scratch[0] + b * stride, p.blocks[b], stage.sinusoids, depth);
        const auto out = storing(to);
        const auto finish = mirrored_finish(images, start, epilogue_of(stage.sine), out);
        const auto finish_slice = [&](const float* sums, int64_t row, int64_t block) {
            finish(slice_of(sums + kProductSums), sums, static_cast<int>(block), row, 0);
        };
        SumBuffers<float, 2> buffers;
        DueEpilogue<float, 2, decltype(finish_slice)> due(buffers, finish_slice);
        const auto nothing_ahead = [] DIGAN_FAST_INLINE_LAMBDA {};
        for (int64_t row = 0; row < stage.outputs; row += 2 * kTmmSide)
            for (int block = 0; block < p.block_count; block += images) {
                const auto* const at = reinterpret_cast<const Bf16x2*>(scratch[0] + block * stride);
                using Sums = ProductSums<float>;
                const auto product = [&](const RotatedLayer& weights, const Sums& odd,
                                         const Sums& even) DIGAN_FAST_INLINE_LAMBDA {
                    terms_product(odd, steps, panel_at<Bf16x2>(weights.sine, row, depth), at, due,
                                  nothing_ahead);
                    terms_product(even, steps, panel_at<Bf16x2>(weights.cosine, row, depth),
                                  at + depth * kBlockPixels, due, nothing_ahead);
                };
                const Sums sums = due.sums();
                const Block& own = p.blocks[block];
                if (own.weights) {
                    product(*own.weights, sums.of(0), sums.of(1));
                } else {
                    of_each_frame<2 * kTmmSide>(
                        *own.scattered, 0, sums.of(0).to, sums.of(1).to,
                        [&](const RotatedLayer& weights, float* odd, float* even)
                            DIGAN_FAST_INLINE_LAMBDA {
                                product(weights, {sums.tiles, odd}, {sums.tiles, even});
                                sums.tiles.leave();
                            });
                }
                due.follow(2 * kTmmSide, row, block);
            }
        due.finish();
    }

    // The layer's weights are terms in sixteen rows (PackedLayer::split).
    void colours(const PackedLayer& to_rgb, const Terms* x) const {
        alignas(64) float sums[kSplitRows * kNR];
        for (int block = 0; block < p.block_count; ++block) {
            const auto* panel = panel_at<Bf16x2>(to_rgb.panels, 0, to_rgb.depth);
            const auto* columns = reinterpret_cast<const Bf16x2*>(x + block * stride);
            zero_tmm<0>();
            zero_tmm<1>();
            for (int64_t k = 0; k < to_rgb.depth; k += kTmmSide, panel += kTmmElements) {
                load_tmm<4>(panel, 4 * kTmmSide);
                for (int64_t term = 0; term < kTerms; ++term, columns += kTermElements) {
                    load_tmm<6>(columns, 4 * kNR);
                    load_tmm<7>(columns + kTmmSide, 4 * kNR);
                    dot_tmm<0, 4, 6>(Bf16x2{});
                    dot_tmm<1, 4, 7>(Bf16x2{});
                }
            }
            store_tmm<0>(sums, 4 * kNR);
            store_tmm<1>(sums + kTmmSide, 4 * kNR);
            for (int64_t colour = 0; colour < p.stage->colours; ++colour)
                for (int v = 0; v < 2; ++v) {
                    float* const out =
                        p.blocks[block].rgb_out + colour * kBlockPixels + v * Vec::width;
                    Vec sum = broadcast(to_rgb.bias[colour]);
                    for (int64_t row = colour; row < kTerms * kSplitOutputs; row += kSplitOutputs)
                        sum = add(sum, load(sums + row * kNR + v * Vec::width));
                    store(out, add(load(out), sum));
                }
        }
    }

    template <class Out>
    void layer(const PackedLayer& layer, const Epilogue& how, const Terms* from,
               const Out& out) const {
        gemm(layer, p.block_count, Bias{layer.bias}, from, stride, how, out);
    }

    static constexpr bool kBlockByBlock = false;

    void run() const { render_levels(*this, p, scratch[1], scratch[2]); }
};

}  // namespace

void rotate_weights_terms(const WeightRotation& p) {
    const int64_t K = p.sinusoids;
    const float *const sin = p.rotation, *const cos = sin + K;
    for (int64_t row = p.first; row < p.last; ++row) {
        const float* const sine = panel_at<float>(p.sine.panels, row, K);
        const float* const cosine = panel_at<float>(p.cosine.panels, row, K);
        constexpr int64_t kRows = 2 * kTmmSide;
        const int64_t at = row % kRows * kTmmSide;
        Bf16x2* P = panel_at<Bf16x2>(p.to.sine, row / kRows * kRows, p.depth) + at;
        Bf16x2* Q = panel_at<Bf16x2>(p.to.cosine, row / kRows * kRows, p.depth) + at;
        for (int64_t k = 0; k < K; k += 2 * kTmmSide, P += kStepElements, Q += kStepElements) {
            Vec odd[2], even[2];
            for (int v = 0; v < 2; ++v) {
                const int64_t i = k + v * Vec::width;
                rotate(load(sine + i), load(cosine + i), load(sin + i), load(cos + i), &odd[v],
                       &even[v]);
            }
            store_row_terms(P, 2 * kTmmElements, odd[0], odd[1]);
            store_row_terms(Q, 2 * kTmmElements, even[0], even[1]);
        }
    }
}

void render_group_terms(const BlockGroup& p) { TermsRenderer{p}.run(); }

#else

void rotate_weights_terms(const WeightRotation&) {}
void render_group_terms(const BlockGroup&) {}

#endif

}  // namespace digan_fast::DIGAN_FAST_ISA
