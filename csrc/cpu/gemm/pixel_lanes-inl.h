#pragma once

// A packed layer times the activations of blocks, whose pixels are lanes.

#include "gemm/loops-inl.h"
#include "gemm/pack_weights_kernel.h"
#include "gemm/terms_product-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// What a block's sums begin with: start.of(block, call) calls call(value), where value(row, r, v)
// is that of row r of the tile that begins at an even `row`, in the lanes of vector v. Here, the
// row's bias.
struct Bias {
    const float* bias;
    template <class Call>
    DIGAN_FAST_INLINE void of(int, const Call& call) const {
        call([this](int64_t row, int r, int)
                 DIGAN_FAST_INLINE_LAMBDA { return broadcast(bias[row + r]); });
    }
};

// The epilogue of a tile that begins at a row.
template <int R, int V>
static DIGAN_FAST_INLINE void finish_channels(Tile<R, V>& tile, int64_t, const Epilogue& how) {
    apply_epilogue(tile, how);
}

// The same of scale∘z + shift, a row being a channel.
struct ModulatedEpilogue {
    Epilogue how;
    const float* scale;  // of each row, or null
    const float* shift;  // of each row, or null; null without a scale
};
template <int R, int V>
static DIGAN_FAST_INLINE void finish_channels(Tile<R, V>& tile, int64_t row,
                                              const ModulatedEpilogue& p) {
    if (p.scale)
        for_each_vector(tile, [&](Vec& z, int r, int) DIGAN_FAST_INLINE_LAMBDA {
            z = mul(z, broadcast(p.scale[row + r]));
        });
    if (p.shift)
        for_each_vector(tile, [&](Vec& z, int r, int) DIGAN_FAST_INLINE_LAMBDA {
            z = add(z, broadcast(p.shift[row + r]));
        });
    apply_epilogue(tile, p.how);
}

// Epilogues of which all is known when they are compiled, for AMX: the loads of its tiles leave few
// slots for instructions that look at parameters.
struct LreluEpilogue {};
template <int R, int V>
static DIGAN_FAST_INLINE void finish_channels(Tile<R, V>& tile, int64_t, const LreluEpilogue&) {
    apply_lrelu(tile);
}
struct ShortSineEpilogue {};
template <int R, int V>
static DIGAN_FAST_INLINE void finish_channels(Tile<R, V>& tile, int64_t, const ShortSineEpilogue&) {
    apply_sine(tile, true);
}

// call(LreluEpilogue{}) or call(ShortSineEpilogue{}) if that is the epilogue of a product of
// elements T on AMX, else call(how). Sines of a product in bfloat16 are short also where they are
// not rounded.
template <class T, class Call>
static DIGAN_FAST_INLINE void with_lrelu(const Epilogue& how, const Call& call) {
    if constexpr (kMostRows<T> > kMR)
        if (is_plain(how) && how.activation == Activation::lrelu) return call(LreluEpilogue{});
    call(how);
}
template <class T, class Call>
static DIGAN_FAST_INLINE void with_sine(const ModulatedEpilogue& p, const Call& call) {
    if constexpr (kMostRows<T> > kMR)
        if (is_plain(p.how) && p.how.activation == Activation::sine && !p.scale)
            return call(ShortSineEpilogue{});
    call(p);
}

// Whether a layer's panels stay in L2, so that they need no prefetches: with them a product of
// depth 256 in bfloat16 takes 440 ns, without 329.
static inline bool stays_in_cache(const PackedLayer& layer) {
    return layer.outputs * layer.depth < 1 << 17;
}

// What is left to do with a slice of a tile's sums.
template <int kRows, class Start, class How, class Out>
static DIGAN_FAST_INLINE auto slice_epilogue(const Start& start, const How& how, const Out& out) {
    return [=, &start](const float* sums, int64_t row, int64_t block) DIGAN_FAST_INLINE_LAMBDA {
        auto slice = slice_of<kRows>(sums);
        start.of(static_cast<int>(block), [&](const auto& value) DIGAN_FAST_INLINE_LAMBDA {
            for_each_vector(slice, [&](Vec& z, int r, int v)
                                       DIGAN_FAST_INLINE_LAMBDA { z = add(z, value(row, r, v)); });
        });
        finish_channels(slice, row, how);
        out(slice, static_cast<int>(block), row, 0);
    };
}

// Prefetches a panel, a share with each call.
struct PanelPrefetch {
    const char* at;
    int64_t bytes;  // each time
    DIGAN_FAST_INLINE void operator()() {
        for (int64_t line = 0; line < bytes; line += 64) prefetch(at + line);
        at += bytes;
    }
};

// Calls out(act(start + layer·in)) for each tile; in: [blocks][in_stride]. The panels'
// elements are `Weight`s; they differ from the activations' if the weights are float32 and the
// activations packed.
template <class Weight, Streamed kStreamed = Streamed::columns, class In, class Start, class How,
          class Out>
static inline void gemm(const PackedLayer& layer, int blocks, const Start& start, const In* in,
                        int64_t in_stride, const How& how, const Out& out) {
    const int64_t depth = layer.depth * kPack<Weight> / kPack<In>;
    const bool prefetches = !stays_in_cache(layer);
    const auto on_amx = [&](auto mr, int64_t row, int block, auto& due) DIGAN_FAST_INLINE_LAMBDA {
        constexpr int R = decltype(mr)::value;
        const Weight* const panel = panel_at<Weight>(layer.panels, row, layer.depth);
        // Each block's product prefetches its share of the next panel.
        constexpr int64_t kShare = kTmmSide * R * sizeof(Weight) / kAmxGroupBlocks;
        const char* const next = reinterpret_cast<const char*>(panel + R * depth);
        amx_product<R, kStreamed>(
            due.sums(), depth, panel, in + block * in_stride, kBlockPixels, due,
            PanelPrefetch{next + block * (depth / kTmmSide) * kShare, prefetches ? kShare : 0});
    };
    const auto finish = slice_epilogue<kSliceRows>(start, how, out);
    for_each_tile_of_blocks<Weight, float, 1>(
        layer.outputs, blocks, 1, on_amx, finish, [&](auto mr, int64_t row, int block, int lane) {
            constexpr int R = decltype(mr)::value;
            Tile<R> tile;
            start.of(block, [&](const auto& value) DIGAN_FAST_INLINE_LAMBDA {
                for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                    z = value(row, r, lane / Vec::width + v);
                });
            });
            microkernel(tile, depth, panel_at<Weight>(layer.panels, row, layer.depth), R,
                        in + block * in_stride + lane, kBlockPixels);
            finish_channels(tile, row, how);
            out(tile, block, row, lane);
        });
}

#if DIGAN_FAST_AMX
// A block of Terms is [step][term][16 pairs][32 lanes].
constexpr int64_t kTermElements = kTmmSide * kBlockPixels;

static DIGAN_FAST_INLINE int64_t terms_index(int64_t channel) {
    const int64_t pair = channel / 2;
    return pair / kTmmSide * kStepElements + pair % kTmmSide * kBlockPixels;
}

// Rows of a tile, from an even one on, as channels of a block; the partner of an odd last one is
// zero.
template <int R>
static DIGAN_FAST_INLINE void store_channels(const Tile<R>& tile, Terms* block, int64_t row,
                                             int lane) {
    for_each_vector(tile, [&](const Vec& even, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
        if (r % 2) return;
        const Vec odd = r + 1 < R ? tile.v[r + 1][v] : broadcast(0.0f);
        Bf16x2* const to = reinterpret_cast<Bf16x2*>(block + terms_index(row + r) + lane);
        store_terms(to + v * Vec::width, kTermElements, even, odd);
    });
}

// Slices between six times as many dots are smaller, so that less of the scheduler is theirs: with
// four rows, products of 256 channels and their sines take 8 % longer.
constexpr int kTermsSliceRows = 2;

// The same for float32 as terms: `out` has rows up to the next multiple of 32.
template <class Start, class How, class Out>
static inline void gemm(const PackedLayer& layer, int blocks, const Start& start, const Terms* in,
                        int64_t in_stride, const How& how, const Out& out) {
    const auto of_lanes = slice_epilogue<kTermsSliceRows>(start, how, out);
    terms_products<Outer::rows, Panels::in_memory, kTermsSliceRows>(
        {.rows = layer.outputs,
         .columns = blocks * kBlockPixels,
         .depth = layer.depth / kTerms * 2},
        [&](int64_t row) { return panel_at<Bf16x2>(layer.panels, row, layer.depth); },
        [&](int64_t lane) {
            return reinterpret_cast<const Bf16x2*>(in + lane / kBlockPixels * in_stride);
        },
        [&](const float* sums, int64_t row, int64_t lane) {
            of_lanes(sums, row, lane / kBlockPixels);
        });
}
#endif

static inline Epilogue epilogue_of(const PackedLayer& layer, Number round = Number::float32) {
    return {
        .activation = layer.activation, .gain = layer.gain, .clamp = layer.clamp, .round = round};
}

}  // namespace digan_fast::DIGAN_FAST_ISA
