#include "render/block_features-inl.h"
#include "render/block_int8-inl.h"
#include "simd/int8x4-inl.h"
#include "simd/quantise-inl.h"

// A layer's activations are float32, [outputs, 32], stored along with each lane's minimum and
// maximum; a pass quantises them to Int8x4, with a scale and a zero point per lane, for the next
// product. A lane's values depend only on its own pixel, so neither the window nor the grouping of
// blocks changes them.
//
// A pixel whose activations or features are not finite gets the scale NaN: its colours and those of
// the pixels that it is upsampled to are NaN, and no others.

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

constexpr int kVectors = kBlockPixels / Vec::width;

// For a block's lanes: x = scale·(q − zero), and the range of the float32 values and 0.
struct alignas(64) LaneQuantisation {
    float scale[kBlockPixels];
    int32_t zero[kBlockPixels];
    float low[kBlockPixels];
    float high[kBlockPixels];

    void start_range() {
        for (int i = 0; i < kBlockPixels; ++i) low[i] = high[i] = 0;
    }
};

// Packs four neighbouring channels, each rounded by adding kRound, into a quad: the high parts of
// their representations add up to kRoundBits·(1 + 2⁸) modulo 2³².
DIGAN_FAST_INLINE IntVec int8x4_of(Vec a, Vec b, Vec c, Vec d) {
    const IntVec low = add(bits_of(a), shift_left<8>(bits_of(b)));
    const IntVec high = add(shift_left<16>(bits_of(c)), shift_left<24>(bits_of(d)));
    return add(add(low, high), broadcast(-static_cast<int32_t>(kRoundBits + (kRoundBits << 8))));
}

// Quantises rows [count, 32], whose range is in `lanes`, to Int8x4 [⌈count/4⌉, 32] and sets scale
// and zero; the weights of channels past `count` are zero.
void quantise(const float* rows, int64_t count, Int8x4* int8x4s, LaneQuantisation& lanes) {
    float levels[kBlockPixels], shift[kBlockPixels];
    for (int i = 0; i < kBlockPixels; ++i) {
        const float wide = lanes.high[i] - lanes.low[i];
        const float range = wide > kSmallestRange ? wide : kSmallestRange;
        levels[i] = kActivationLevels / range;
        const float zero = (lanes.low[i] * -levels[i] + kRound) - kRound;
        const float within = zero >= 0 && zero <= 255 ? zero : 0;  // 0 for an infinite range
        shift[i] = within + kRound;
        lanes.zero[i] = static_cast<int32_t>(within);
        lanes.scale[i] = range * (1 / kActivationLevels);
    }
    for (int v = 0; v < kVectors; ++v) {
        const int at = v * Vec::width;
        const Vec level = load(levels + at), shifted = load(shift + at);
        Vec finite = broadcast(0.0f);
        const auto rounded = [&](int64_t row) {
            const Vec x = load(rows + row * kBlockPixels + at);
            finite = fma(x, broadcast(0.0f), finite);
            return add(mul(x, level), shifted);
        };
        Int8x4* to = int8x4s + at;
        int64_t row = 0;
        for (; row + 4 <= count; row += 4, to += kBlockPixels)
            store(to,
                  int8x4_of(rounded(row), rounded(row + 1), rounded(row + 2), rounded(row + 3)));
        if (row < count) {
            const Vec none = broadcast(kRound);
            store(to, int8x4_of(rounded(row), row + 1 < count ? rounded(row + 1) : none,
                                row + 2 < count ? rounded(row + 2) : none, none));
        }
        store(lanes.scale + at, add(load(lanes.scale + at), finite));
    }
}

// q = round(127·v) + 128, a quad for two sinusoids: sin k, cos k, sin k + 1, cos k + 1.
void store_features(Int8x4* out, const Block& block, int64_t sinusoids, LaneQuantisation& lanes) {
    for (int i = 0; i < kBlockPixels; ++i) {
        lanes.scale[i] = 1 / kFeatureLevels;
        lanes.zero[i] = kFeatureZero;
    }
    const Vec levels = broadcast(kFeatureLevels), shift = broadcast(kRound + kFeatureZero);
    const Vec none = broadcast(kRound);
    Vec sine[kVectors], cosine[kVectors], finite[kVectors];
    for (Vec& f : finite) f = broadcast(0.0f);
    features_of<false>(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        finite[v] = fma(add(sin, cos), broadcast(0.0f), finite[v]);
        const Vec s = add(mul(sin, levels), shift), c = add(mul(cos, levels), shift);
        Int8x4* const to = out + k / 2 * kBlockPixels + v * Vec::width;
        if (k & 1) {
            store(to, int8x4_of(sine[v], cosine[v], s, c));
        } else if (k + 1 == sinusoids) {
            store(to, int8x4_of(s, c, none, none));
        }
        sine[v] = s;
        cosine[v] = c;
    });
    for (int v = 0; v < kVectors; ++v) {
        float* const scale = lanes.scale + v * Vec::width;
        store(scale, add(load(scale), finite[v]));
    }
}

struct Int8GroupRenderer {
    const BlockGroup& p;
    const int64_t stride = p.widest * kBlockPixels;
    Int8x4* const int8x4s = reinterpret_cast<Int8x4*>(p.scratch[0]);
    float* const x = p.scratch[1];
    LaneQuantisation lanes[kAmxGroupBlocks] = {};

    // (Σ q·w − zero·Σ w)·(scale of the lane)·(scale of the row) + start, after the epilogue, to
    // out.
    template <class Start, class Out>
    void gemm(const PackedLayer& layer, const Start& start, const Out& out) const {
        const Epilogue how = epilogue_of(layer);
        const auto product = [&](auto mr, int64_t row, int block,
                                 auto& due) DIGAN_FAST_INLINE_LAMBDA {
            amx_product<decltype(mr)::value, Streamed::columns>(
                due.sums(), layer.depth, panel_at<Int8x4>(layer.panels, row, layer.depth),
                int8x4s + block * stride, kBlockPixels, due);
        };
        const auto finish_slice = [&](const int32_t* sums, int64_t row,
                                      int64_t at) DIGAN_FAST_INLINE_LAMBDA {
            const int block = static_cast<int>(at);
            auto slice = slice_of(sums);
            const auto zeros = zero_points<kSliceRows>(layer, row, block, 0);
            unrolled<2 * kSliceRows>([&](auto i) DIGAN_FAST_INLINE_LAMBDA {
                IntVec& sum = slice.v[i.value / 2][i.value % 2];
                sum = add(sum, zeros.v[i.value / 2][i.value % 2]);
            });
            finish(layer, start, how, slice, block, row, 0, out);
        };
        // GCC 12 would not inline it otherwise, which costs 8 % of a rendering in int8.
        for_each_tile_of_blocks<Int8x4, int32_t, 1>(
            layer.outputs, p.block_count, 1, product, finish_slice,
            [&](auto mr, int64_t row, int block, int lane) DIGAN_FAST_INLINE_LAMBDA {
                constexpr int R = decltype(mr)::value;
                const Int8x4* const rows = panel_at<Int8x4>(layer.panels, row, layer.depth);
                finish(layer, start, how,
                       microkernel(zero_points<R>(layer, row, block, lane), layer.depth, rows, R,
                                   int8x4s + block * stride + lane, kBlockPixels),
                       block, row, lane, out);
            });
    }

    // −zero·Σ w
    template <int R>
    DIGAN_FAST_INLINE IntTile<R> zero_points(const PackedLayer& layer, int64_t row, int block,
                                             int lane) const {
        IntTile<R> sums;
        const int32_t* const zero = lanes[block].zero + lane;
        unrolled<2 * R>([&](auto i) DIGAN_FAST_INLINE_LAMBDA {
            constexpr int r = i.value / 2, v = i.value % 2;
            sums.v[r][v] = mul(load(zero + v * Vec::width), broadcast(-layer.sums[row + r]));
        });
        return sums;
    }

    template <int R, class Start, class Out>
    DIGAN_FAST_INLINE void finish(const PackedLayer& layer, const Start& start, const Epilogue& how,
                                  const IntTile<R>& sums, int block, int64_t row, int lane,
                                  const Out& out) const {
        Tile<R> tile;
        const float* const scale = lanes[block].scale + lane;
        start.of(block, [&](const auto& value) DIGAN_FAST_INLINE_LAMBDA {
            for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                z = mul(mul(to_float(sums.v[r][v]), load(scale + v * Vec::width)),
                        broadcast(layer.scales[row + r]));
                z = add(z, value(row, r, lane / Vec::width + v));
            });
        });
        apply_epilogue(tile, how);
        out(tile, block, row, lane);
    }

    // Activations, and their range, which ignores NaNs.
    template <class Start>
    void layer(const PackedLayer& layer, const Start& start) {
        for (int b = 0; b < p.block_count; ++b) lanes[b].start_range();
        gemm(layer, start, [&](const auto& tile, int block, int64_t row, int lane) {
            float *const low = lanes[block].low + lane, *const high = lanes[block].high + lane;
            Vec least[2] = {load(low), load(low + Vec::width)};
            Vec most[2] = {load(high), load(high + Vec::width)};
            for_each_vector(tile, [&](const Vec& z, int, int v) DIGAN_FAST_INLINE_LAMBDA {
                least[v] = min(z, least[v]);
                most[v] = max(z, most[v]);
            });
            unrolled<2>([&](auto v) DIGAN_FAST_INLINE_LAMBDA {
                store(low + v.value * Vec::width, least[v.value]);
                store(high + v.value * Vec::width, most[v.value]);
            });
            store_tile(tile, x + block * stride + row * kBlockPixels + lane, kBlockPixels);
        });
    }

    void quantise(int64_t channels) {
        for (int b = 0; b < p.block_count; ++b)
            DIGAN_FAST_ISA::quantise(x + b * stride, channels, int8x4s + b * stride, lanes[b]);
    }

    void run() {
        const Stage& stage = *p.stage;
        for (int b = 0; b < p.block_count; ++b) {
            store_features(int8x4s + b * stride, p.blocks[b], stage.sinusoids, lanes[b]);
            start_colours(p.blocks[b], stage.colours);
        }
        if (p.blocks[0].base) {
            layer(stage.features, UpsampledBase<float>(p));
        } else {
            layer(stage.features, Bias{stage.features.bias});
        }
        int64_t channels = stage.features.outputs;
        for (const PackedLevel* level = stage.levels; level != stage.levels + stage.level_count;
             ++level) {
            for (int64_t i = 0; i < level->layer_count; ++i) {
                quantise(channels);
                layer(level->layers[i], Bias{level->layers[i].bias});
                channels = level->layers[i].outputs;
            }
            add_colours(p, level->to_rgb, x, stride);
        }
        if (!stage.next_base) return;
        quantise(channels);
        gemm(*stage.next_base, Bias{stage.next_base->bias},
             [&](const auto& tile, int block, int64_t row, int lane) {
                 store_tile(tile, p.blocks[block].base_out + row * kBlockPixels + lane,
                            kBlockPixels);
             });
    }
};

}  // namespace

void render_group_int8(const BlockGroup& p) { Int8GroupRenderer{p}.run(); }

}  // namespace digan_fast::DIGAN_FAST_ISA
