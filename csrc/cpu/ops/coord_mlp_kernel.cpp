#include "ops/coord_mlp_kernel.h"

#include <algorithm>
#include <type_traits>

#include "gemm/pixel_lanes-inl.h"
#include "ops/mlp_activations-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// call(StoredAs<T>) with the elements that the layer's product reads; null: float.
template <class Call>
DIGAN_FAST_INLINE void with_element(const MlpLayer* layer, const Call& call) {
    if (layer && layer->packed.number == Number::bfloat16) return call(StoredAs<Bfloat16Element>{});
#if DIGAN_FAST_AMX
    if (layer && layer->packed.terms) return call(StoredAs<Terms>{});
#endif
    call(StoredAs<float>{});
}

// Whether that is not the layer before in float32.
bool reads_rounded(const MlpLayer& layer) {
    return layer.packed.number != Number::float32 || layer.packed.terms;
}

// Whether the epilogue of a product computes a layer's activation.
bool in_epilogue(const MlpLayer& layer) {
    const Activation activation = layer.packed.activation;
    return homogeneous(activation) || activation == Activation::sine;
}

// Whether the layer reads the output of the one before as it is.
bool plain(const MlpLayer& layer) {
    return !layer.skip && !layer.input_scale && !layer.input_shift;
}

// One group's blocks, [block][channel][32], `stride` elements each.
struct Blocks {
    int count;
    int64_t stride;
};

// [points, depth] as channels of float.
void store_points(const MlpGroup& p, const Blocks& blocks, float* x) {
    for (int64_t at = 0; at < blocks.count * kBlockPixels; ++at) {
        float* const lane = x + at / kBlockPixels * blocks.stride + at % kBlockPixels;
        for (int64_t d = 0; d < p.depth; ++d)
            lane[d * kBlockPixels] = at < p.points ? p.inputs[at * p.depth + d] : 0.0f;
    }
}

// Stores a channel as what a product reads; channels come in order.
void store_operand(float* block, int64_t channel, const float* lanes, Number number) {
    round_n(number, block + channel * kBlockPixels, lanes, kBlockPixels);
}
[[maybe_unused]] void store_operand(Bf16x2* block, int64_t channel, const float* lanes, Number) {
    Bf16x2* const to = block + channel / 2 * kBlockPixels;
    if (channel % 2) {
#pragma omp simd
        for (int i = 0; i < kBlockPixels; ++i) to[i].bits |= bfloat16_bits(lanes[i]) << 16;
    } else {
#pragma omp simd
        for (int i = 0; i < kBlockPixels; ++i) to[i].bits = bfloat16_bits(lanes[i]);
    }
}

#if DIGAN_FAST_AMX
void store_operand(Terms* block, int64_t channel, const float* lanes, Number) {
    float rest[kBlockPixels];
    memcpy(rest, lanes, sizeof rest);
    for (int term = 0; term < kTerms; ++term) {
        Terms* const to = block + terms_index(channel) + term * kTermElements;
#    pragma omp simd
        for (int i = 0; i < kBlockPixels; ++i) {
            const uint32_t bits = bfloat16_bits(rest[i]);
            to[i].bits = channel % 2 ? to[i].bits | bits << 16 : bits;
            rest[i] -= to_bfloat16(rest[i]);
        }
    }
}

// Zeros for the channels that fill up the last step; the partner of an odd last one is zero.
void fill_up(const MlpLayer& layer, const Blocks& blocks, Terms* u) {
    for (int block = 0; block < blocks.count; ++block)
        for (int64_t channel = (layer.inputs + 1) / 2 * 2; channel % (2 * kTmmSide); channel += 2)
            for (int term = 0; term < kTerms; ++term)
                memset(u + block * blocks.stride + terms_index(channel) + term * kTermElements, 0,
                       kBlockPixels * sizeof(Terms));
}
#endif

template <class Out, int R>
DIGAN_FAST_INLINE void store_channels(const Tile<R>& tile, Out* block, int64_t row, int lane) {
    store_tile(tile, block + row / kPack<Out> * kBlockPixels + lane, kBlockPixels);
}

template <class T>
void fill_up(const MlpLayer&, const Blocks&, T*) {}

// u = s∘x + t, x being `width` channels and then, for a layer with `skip`, the features.
template <class T>
void assemble(const MlpLayer& layer, const Blocks& blocks, const float* x, int64_t width,
              const float* features, T* u) {
    for (int block = 0; block < blocks.count; ++block)
        for (int64_t channel = 0; channel < layer.inputs; ++channel) {
            const float* const from =
                channel < width
                    ? x + block * blocks.stride + channel * kBlockPixels
                    : features + (block * (layer.inputs - width) + channel - width) * kBlockPixels;
            const float scale = layer.input_scale ? layer.input_scale[channel] : 1.0f;
            const float shift = layer.input_shift ? layer.input_shift[channel] : 0.0f;
            float lanes[kBlockPixels];
#pragma omp simd
            for (int i = 0; i < kBlockPixels; ++i) lanes[i] = from[i] * scale + shift;
            store_operand(u + block * blocks.stride, channel, lanes, layer.packed.number);
        }
}

// Calls out(act(layer·from)) for each tile.
template <class In, class Out>
void multiply(const MlpLayer& layer, const Blocks& blocks, const Epilogue& epilogue,
              const float* from, const Out& out) {
    const ModulatedEpilogue how{epilogue, layer.scale, layer.shift};
    const Bias start{layer.packed.bias};
    const In* const in = reinterpret_cast<const In*>(from);
    if constexpr (std::is_same_v<In, float> || std::is_same_v<In, Bfloat16Element>) {
        with_sine<In>(how, [&](const auto& known) {
            gemm<In>(layer.packed, blocks.count, start, in, blocks.stride, known, out);
        });
    } else {
        gemm(layer.packed, blocks.count, start, in, blocks.stride, how, out);
    }
}

// Stores channels as elements of `to`.
template <class Out>
auto storing(const Blocks& blocks, float* to) {
    return [=](const auto& tile, int block, int64_t row, int lane) {
        store_channels(tile, reinterpret_cast<Out*>(to) + block * blocks.stride, row, lane);
    };
}

// A last layer of few outputs is summed up in the epilogues of the one before, whose outputs need
// not be stored then. Its panel is [inputs][outputs].
constexpr int64_t kFewOutputs = 4;

bool summed_before(const MlpLayer& before, const MlpLayer& layer) {
    return layer.packed.outputs <= kFewOutputs && !reads_rounded(layer) && plain(layer) &&
           in_epilogue(before) && (!before.packed.terms || layer.inputs % kNR == 0);
}

void start_sums(const MlpLayer& layer, const Blocks& blocks, float* sums) {
    for (int block = 0; block < blocks.count; ++block)
        for (int64_t n = 0; n < layer.packed.outputs; ++n)
            std::fill_n(sums + block * blocks.stride + n * kBlockPixels, kBlockPixels,
                        layer.packed.bias[n]);
}

// Adds a tile of the layer's inputs times their weights to its sums, channel by channel.
auto summing(const MlpLayer& layer, const Blocks& blocks, float* sums) {
    const float* const weights = panel_at<float>(layer.packed.panels, 0, layer.packed.depth);
    const int64_t outputs = layer.packed.outputs;
    return [=]<int R>(const Tile<R>& tile, int block, int64_t row, int lane) {
        const float* weight = weights + row * outputs;
        float* to = sums + block * blocks.stride + lane;
        for (int64_t n = 0; n < outputs; ++n, ++weight, to += kBlockPixels) {
            Vec sum[2] = {load(to), load(to + Vec::width)};
            for_each_vector(tile, [&](const Vec& z, int r, int v) DIGAN_FAST_INLINE_LAMBDA {
                sum[v] = fma(broadcast(weight[r * outputs]), z, sum[v]);
            });
            store(to, sum[0]);
            store(to + Vec::width, sum[1]);
        }
    };
}

void finish_sums(const MlpLayer& layer, const Blocks& blocks, const Epilogue& epilogue,
                 float* sums) {
    const ModulatedEpilogue how{epilogue, layer.scale, layer.shift};
    for (int block = 0; block < blocks.count; ++block)
        for (int64_t n = 0; n < layer.packed.outputs; ++n)
            for (int lane = 0; lane < kBlockPixels; lane += kNR) {
                float* const row = sums + block * blocks.stride + n * kBlockPixels + lane;
                Tile<1> tile = tile_of<1>(row);
                finish_channels(tile, n, how);
                store_tile(tile, row, kNR);
            }
}

// y = act(y), where the epilogue did not.
void finish(const MlpLayer& layer, const Blocks& blocks, float* y) {
    for (int block = 0; block < blocks.count; ++block) {
        float* const channels = y + block * blocks.stride;
        activate_n(layer.packed.activation, channels, channels,
                   layer.packed.outputs * kBlockPixels);
    }
}

void copy_features(const Blocks& blocks, const float* x, int64_t channels, float* features) {
    for (int block = 0; block < blocks.count; ++block)
        memcpy(features + block * channels * kBlockPixels, x + block * blocks.stride,
               channels * kBlockPixels * sizeof(float));
}

}  // namespace

void mlp_group(const MlpGroup& p) {
    const Blocks blocks{static_cast<int>((p.points + kBlockPixels - 1) / kBlockPixels),
                        p.widest * kBlockPixels};
    float *x = p.scratch[0], *y = p.scratch[1];
    const auto swap = [&] {
        float* const other = x;
        x = y;
        y = other;
    };
    const AmxScope amx;
    store_points(p, blocks, x);
    if (p.features && !p.encoded) copy_features(blocks, x, p.depth, p.features);
    int64_t width = p.depth;
    bool ready = plain(p.layers[0]) && !reads_rounded(p.layers[0]);
    bool summed = false;  // the layer, in x, but for its epilogue
    for (int64_t i = 0; i < p.layer_count; ++i) {
        const MlpLayer& layer = p.layers[i];
        const MlpLayer* const next = i + 1 < p.layer_count ? &layer + 1 : nullptr;
        if (!ready) {
            with_element(&layer, [&](auto element) {
                using T = typename decltype(element)::Type;
                assemble(layer, blocks, x, width, p.features, reinterpret_cast<T*>(y));
                fill_up(layer, blocks, reinterpret_cast<T*>(y));
            });
            swap();
        }
        const bool features = p.features && p.encoded && i == 0, finished = in_epilogue(layer);
        const bool operand = next && reads_rounded(*next) && plain(*next) && finished && !features;
        Epilogue how = epilogue_of(layer.packed, operand ? next->packed.number : Number::float32);
        if (!finished) how.activation = Activation::linear;
        if (summed) {
            finish_sums(layer, blocks, how, x);
            swap();
        } else {
            summed = i + 2 == p.layer_count && !features && summed_before(layer, *next);
            with_element(&layer, [&](auto in) {
                using In = typename decltype(in)::Type;
                if (summed) {
                    start_sums(*next, blocks, y);
                    return multiply<In>(layer, blocks, how, x, summing(*next, blocks, y));
                }
                with_element(operand ? next : nullptr, [&](auto out) {
                    using Out = typename decltype(out)::Type;
                    multiply<In>(layer, blocks, how, x, storing<Out>(blocks, y));
                    if (operand) fill_up(*next, blocks, reinterpret_cast<Out*>(y));
                });
            });
        }
        if (!finished) finish(layer, blocks, y);
        swap();
        width = layer.packed.outputs;
        if (features) copy_features(blocks, x, width, p.features);
        ready = operand || (next && !reads_rounded(*next) && plain(*next));
    }
    for (int64_t at = 0; at < p.points; ++at) {
        const float* const lane = x + at / kBlockPixels * blocks.stride + at % kBlockPixels;
        for (int64_t n = 0; n < width; ++n) p.out[at * width + n] = lane[n * kBlockPixels];
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
