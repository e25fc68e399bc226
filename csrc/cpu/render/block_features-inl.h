#pragma once

// What a group of blocks computes in every precision: the features of its pixels, and colours.

#include <algorithm>
#include <optional>

#include "gemm/pixel_lanes-inl.h"
#include "render/block_kernel.h"
#include "simd/lanes-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {

// a·b + c; if `fused`, with fma (rounded once) where it exists, else rounded twice everywhere.
template <bool fused>
static DIGAN_FAST_INLINE Vec sum_of(Vec a, Vec b, Vec c) {
    return fused ? fma(a, b, c) : add(mul(a, b), c);
}

// sin(a + b) and cos(a + b) from those of a pixel's column and row.
template <bool fused, class Put>
static DIGAN_FAST_INLINE void put_sums(int64_t k, int v, Vec sx, Vec cx, Vec sy, Vec cy,
                                       const Put& put) {
    put(k, v, sum_of<fused>(sy, cx, mul(cy, sx)),
        sum_of<fused>(mul(broadcast(-1.0f), sy), sx, mul(cy, cx)));
}

// The features of lanes, each with its own column and row.
template <bool fused, class Put>
static inline void features_of_lanes(const Block& block, const Scattered& lanes, int64_t sinusoids,
                                     const Put& put) {
    const LaneGather<2 * kBlockColumns> x(block.across, lanes.across);
    const LaneGather<2 * kBlockRows> y(block.down, lanes.down);
    for (int64_t k = 0; k < sinusoids; ++k) {
        for (int v = 0; v < kBlockPixels / Vec::width; ++v) {
            const Vec sx = x(k, v), cx = x(k, v, kBlockColumns);
            const Vec sy = y(k, v), cy = y(k, v, kBlockRows);
            put_sums<fused>(k, v, sx, cx, sy, cy, put);
        }
    }
}

// The features of a block.
template <bool fused, class Put>
static inline void features_of(const Block& block, int64_t sinusoids, const Put& put) {
    if (block.scattered) return features_of_lanes<fused>(block, *block.scattered, sinusoids, put);
    for (int64_t k = 0; k < sinusoids; ++k) {
        const float* const x = block.across + k * 2 * kBlockColumns;
        const float* const y = block.down + k * 2 * kBlockRows;
        for (int v = 0; v < kBlockPixels / Vec::width; ++v) {
            const Vec sx = spread_columns(x, v), cx = spread_columns(x + kBlockColumns, v);
            const Vec sy = spread_rows(y, v), cy = spread_rows(y + kBlockRows, v);
            put_sums<fused>(k, v, sx, cx, sy, cy, put);
        }
    }
}

// Values of the coarser grid, [rows, 32] per block, upsampled to the lanes of a block.
class Upsampled {
  public:
    Upsampled() = default;
    Upsampled(const Block& block, const float* from, int64_t rows) : from_(from) {
        if (!block.scattered) return;
        int64_t offsets[kBlockPixels];
        for (int lane = 0; lane < kBlockPixels; ++lane) {
            const int64_t parent = block.scattered->parent[lane];
            offsets[lane] = parent / kBlockPixels * rows * kBlockPixels + parent % kBlockPixels;
        }
        gather_.emplace(from, offsets);
    }
    DIGAN_FAST_INLINE Vec operator()(int64_t row, int v) const {
        return gathers() ? gathered(row, v) : repeated(row, v);
    }
    // Whether the block is scattered, and the values if it is and if it is not.
    bool gathers() const { return gather_.has_value(); }
    Vec gathered(int64_t row, int v) const { return (*gather_)(row, v); }
    DIGAN_FAST_INLINE Vec repeated(int64_t row, int v) const {
        return repeat_each_four(from_ + row * kBlockPixels + v * (Vec::width / 4));
    }

  private:
    const float* from_ = nullptr;
    std::optional<LaneGather<kBlockPixels>> gather_;
};

// The bases, in rows of elements T, as initial values of a product.
template <class T>
struct UpsampledBase {
    Upsampled bases[kAmxGroupBlocks];
    explicit UpsampledBase(const BlockGroup& p) {
        for (int b = 0; b < p.block_count; ++b)
            bases[b] = {p.blocks[b], p.blocks[b].base, packed_depth<T>(p.stage->outputs)};
    }
    template <class Call>
    DIGAN_FAST_INLINE void of(int block, const Call& call) const {
        const Upsampled& base = bases[block];
        if (base.gathers()) {
            call([&](int64_t row, int r, int v) {
                return channel_of<T>(base.gathered(row / kPack<T> + r / kPack<T>, v), r);
            });
        } else {
            call([&](int64_t row, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                return channel_of<T>(base.repeated(row / kPack<T> + r / kPack<T>, v), r);
            });
        }
    }
};

// Calls product(weights, odd, even) for each frame that the lanes from `lane` on belong to, and
// keeps the frame's own lanes of the results, [R][kNR].
template <int R, class Product>
static inline void of_each_frame(const Scattered& lanes, int lane, float* odd, float* even,
                                 const Product& product) {
    alignas(64) float own[2][kOnAmx<R> ? kProductSums : R * kNR];
    for (const FrameLanes* part = lanes.frames; part != lanes.frames + lanes.frame_count; ++part) {
        const int begin = std::max(part->begin - lane, 0), end = std::min(part->end - lane, kNR);
        if (begin >= end) continue;
        product(*part->weights, own[0], own[1]);
        for (int r = 0; r < R; ++r) {
            for (int i = r * kNR + begin; i < r * kNR + end; ++i) {
                odd[i] = own[0][i];
                even[i] = own[1][i];
            }
        }
    }
}

// What is left to do with rows of Q·cos in registers and of P·sin in memory, for a pixel and its
// mirror image.
template <class Start, class How, class Out>
static DIGAN_FAST_INLINE auto mirrored_finish(int images, const Start& start, const How& how,
                                              const Out& out) {
    return [=, &start, &out](const auto& even, const float* odd, int block, int64_t row,
                             int lane) DIGAN_FAST_INLINE_LAMBDA {
        const auto finish = [&](auto image) DIGAN_FAST_INLINE_LAMBDA {
            auto tile = even;
            start.of(block + image.value, [&](const auto& value) DIGAN_FAST_INLINE_LAMBDA {
                for_each_vector(tile, [&](Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                    const Vec part = load(odd + r * kNR + v * Vec::width);
                    z = image.value ? sub(z, part) : add(z, part);
                    z = add(z, value(row, r, lane / Vec::width + v));
                });
            });
            finish_channels(tile, row, how);
            out(tile, block + image.value, row, lane);
        };
        finish(Constant<0>{});
        if (images > 1) finish(Constant<1>{});
    };
}

static inline void start_colours(const Block& block, int64_t colours) {
    const Upsampled start(block, block.rgb_in, colours);
    for (int64_t c = 0; c < colours; ++c)
        for (int v = 0; v < kBlockPixels / Vec::width; ++v)
            store(block.rgb_out + c * kBlockPixels + v * Vec::width,
                  block.rgb_in ? start(c, v) : broadcast(0.0f));
}

// x: activations in float32 or pairs of bfloat16, [blocks][stride].
template <class T>
static inline void add_colours(const BlockGroup& p, const PackedLayer& to_rgb, const T* x,
                               int64_t stride) {
    const auto add_row = [&](const Vec(&z)[2], int block, int64_t colour,
                             int lane) DIGAN_FAST_INLINE_LAMBDA {
        float* const out = p.blocks[block].rgb_out + colour * kBlockPixels + lane;
        unrolled<2>([&](auto v) DIGAN_FAST_INLINE_LAMBDA {
            float* const to = out + v.value * Vec::width;
            store(to, add(z[v.value], load(to)));
        });
    };
    if constexpr (kMostRows<T> > kMR) {
        if (to_rgb.split)
            return gemm<T>(to_rgb, p.block_count, Bias{to_rgb.bias}, x, stride, epilogue_of(to_rgb),
                           [&]<int R>(const Tile<R>& tile, int block, int64_t row, int lane) {
                               unrolled<R>([&](auto r) DIGAN_FAST_INLINE_LAMBDA {
                                   const int64_t at = row + r.value, colour = at % kSplitOutputs;
                                   if (colour < p.stage->colours && at < kTerms * kSplitOutputs)
                                       add_row(tile.v[r.value], block, colour, lane);
                               });
                           });
    }
    gemm<float>(to_rgb, p.block_count, Bias{to_rgb.bias}, x, stride, epilogue_of(to_rgb),
                [&]<int R>(const Tile<R>& tile, int block, int64_t row, int lane) {
                    unrolled<R>([&](auto r) DIGAN_FAST_INLINE_LAMBDA {
                        add_row(tile.v[r.value], block, row + r.value, lane);
                    });
                });
}

// Takes blocks from a stage's first activations, in `x`, to their colours and the next stage's
// base, with activations in `x` and `y` by turns.
template <class Renderer, class T>
static inline void render_layers(const Renderer& renderer, const BlockGroup& p, T* x, T* y) {
    const Stage& stage = *p.stage;
    for (const PackedLevel* level = stage.levels; level != stage.levels + stage.level_count;
         ++level) {
        for (int64_t i = 0; i < level->layer_count; ++i) {
            const PackedLayer& layer = level->layers[i];
            renderer.layer(layer, epilogue_of(layer, renderer.rounded), x, renderer.storing(y));
            T* const swapped = x;
            x = y;
            y = swapped;
        }
        renderer.colours(level->to_rgb, x);
    }
    if (!stage.next_base) return;
    const auto out = [&](const auto& tile, int block, int64_t row, int lane) {
        using Base = typename Renderer::Base;
        auto* const to = reinterpret_cast<Base*>(p.blocks[block].base_out);
        store_tile(tile, to + packed_row<Base>(row) * kBlockPixels + lane, kBlockPixels);
    };
    renderer.layer(*stage.next_base, epilogue_of(*stage.next_base, renderer.rounded), x, out);
}

static inline bool stays_in_cache(const Stage& stage) {
    for (const PackedLevel* level = stage.levels; level != stage.levels + stage.level_count;
         ++level)
        for (int64_t i = 0; i < level->layer_count; ++i)
            if (!stays_in_cache(level->layers[i])) return false;
    return true;
}

// Takes a group through a stage's levels, from its features to its colours and the next stage's
// base, together or block by block. The renderer knows their elements and a base's, and to which
// number it rounds both.
template <class Renderer, class T>
static inline void render_levels(const Renderer& renderer, const BlockGroup& p, T* x, T* y) {
    const Stage& stage = *p.stage;
    if (p.blocks[0].base) {
        renderer.features(UpsampledBase<typename Renderer::Base>(p), x);
    } else {
        renderer.features(Bias{stage.sine.bias}, x);
    }
    for (int b = 0; b < p.block_count; ++b) start_colours(p.blocks[b], stage.colours);
    if constexpr (Renderer::kBlockByBlock) {
        if (stays_in_cache(stage)) {
            for (int b = 0; b < p.block_count; ++b) {
                BlockGroup one = p;
                one.blocks += b;
                one.block_count = 1;
                render_layers(renderer.of(one), one, x + b * renderer.stride, y);
            }
            return;
        }
    }
    render_layers(renderer, p, x, y);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
