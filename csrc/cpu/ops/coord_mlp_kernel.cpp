#include "ops/coord_mlp_kernel.h"

#include "gemm/pixel_lanes-inl.h"
#include "ops/mlp_activations-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// What a product reads has the elements Bfloat16Element if the layer multiplies in bfloat16, else
// float.
template <class Call>
DIGAN_FAST_INLINE void with_element(bool bfloat16, const Call& call) {
    if (bfloat16) return call(StoredAs<Bfloat16Element>{});
    call(StoredAs<float>{});
}

// Whether the epilogue of a product computes everything of the layer.
bool in_epilogue(const MlpLayer& layer) {
    const Activation activation = layer.packed.activation;
    return !layer.scale && (homogeneous(activation) || activation == Activation::sine);
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
void store_operand(float* block, int64_t channel, const float* lanes, bool round) {
    float* const to = block + channel * kBlockPixels;
#pragma omp simd
    for (int i = 0; i < kBlockPixels; ++i) to[i] = round ? to_bfloat16(lanes[i]) : lanes[i];
}
[[maybe_unused]] void store_operand(Bf16x2* block, int64_t channel, const float* lanes, bool) {
    Bf16x2* const to = block + channel / 2 * kBlockPixels;
    if (channel % 2) {
#pragma omp simd
        for (int i = 0; i < kBlockPixels; ++i) to[i].bits |= bfloat16_bits(lanes[i]) << 16;
    } else {
#pragma omp simd
        for (int i = 0; i < kBlockPixels; ++i) to[i].bits = bfloat16_bits(lanes[i]);
    }
}

// u = s∘x + t, x being `width` channels and then, for a layer with `skip`, the features.
template <class T>
void assemble(const MlpLayer& layer, const Blocks& blocks, const float* x, int64_t width,
              const float* features, T* u) {
    const bool round = kRoundsBfloat16 && layer.packed.bfloat16;
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
            store_operand(u + block * blocks.stride, channel, lanes, round);
        }
}

template <class In, class Out>
void multiply(const MlpLayer& layer, const Blocks& blocks, const Epilogue& how, const float* from,
              float* to) {
    gemm<In>(layer.packed, blocks.count, Bias{layer.packed.bias}, reinterpret_cast<const In*>(from),
             blocks.stride, how, [&](const auto& tile, int block, int64_t row, int lane) {
                 Out* const out = reinterpret_cast<Out*>(to) + block * blocks.stride;
                 store_tile(tile, out + row / kPack<Out> * kBlockPixels + lane, kBlockPixels);
             });
}

// y = act(γ∘y + ω·β), where the epilogue did not.
void finish(const MlpLayer& layer, const Blocks& blocks, float* y) {
    for (int block = 0; block < blocks.count; ++block)
        for (int64_t channel = 0; channel < layer.packed.outputs; ++channel) {
            float* const lanes = y + block * blocks.stride + channel * kBlockPixels;
            if (layer.scale) {
                const float scale = layer.scale[channel];
                const float shift = layer.shift ? layer.shift[channel] : 0.0f;
#pragma omp simd
                for (int i = 0; i < kBlockPixels; ++i) lanes[i] = lanes[i] * scale + shift;
            }
            activate_n(layer.packed.activation, lanes, lanes, kBlockPixels);
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
    bool ready = plain(p.layers[0]);
    for (int64_t i = 0; i < p.layer_count; ++i) {
        const MlpLayer& layer = p.layers[i];
        const MlpLayer* const next = i + 1 < p.layer_count ? &layer + 1 : nullptr;
        if (!ready) {
            with_element(layer.packed.bfloat16, [&](auto element) {
                using T = typename decltype(element)::Type;
                assemble(layer, blocks, x, width, p.features, reinterpret_cast<T*>(y));
            });
            swap();
        }
        const bool features = p.features && p.encoded && i == 0, finished = in_epilogue(layer);
        const bool operand = next && next->packed.bfloat16 && plain(*next) && finished && !features;
        Epilogue how = epilogue_of(layer.packed, operand);
        if (!finished) how.activation = Activation::linear;
        with_element(layer.packed.bfloat16, [&](auto in) {
            with_element(operand, [&](auto out) {
                multiply<typename decltype(in)::Type, typename decltype(out)::Type>(layer, blocks,
                                                                                    how, x, y);
            });
        });
        if (!finished) finish(layer, blocks, y);
        swap();
        width = layer.packed.outputs;
        if (features) copy_features(blocks, x, width, p.features);
        ready = operand || (next && !next->packed.bfloat16 && plain(*next));
    }
    for (int64_t at = 0; at < p.points; ++at) {
        const float* const lane = x + at / kBlockPixels * blocks.stride + at % kBlockPixels;
        for (int64_t n = 0; n < width; ++n) p.out[at * width + n] = lane[n * kBlockPixels];
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
