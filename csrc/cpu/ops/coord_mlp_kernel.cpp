#include "ops/coord_mlp_kernel.h"

#include "gemm/pixel_lanes-inl.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

// Activations between two layers are rounded if either multiplies in bfloat16; then they have the
// elements Bfloat16Element, else float.
template <class Call>
DIGAN_FAST_INLINE void with_element(bool rounded, const Call& call) {
    if (rounded) return call(StoredAs<Bfloat16Element>{});
    call(StoredAs<float>{});
}

// The channels of a block, lane by lane; the partner of an odd last one is zero.
template <class T>
void store_inputs(const MlpGroup& p, int blocks, int64_t stride, T* x) {
    for (int64_t at = 0; at < blocks * kBlockPixels; ++at) {
        T* const lane = x + at / kBlockPixels * stride + at % kBlockPixels;
        const auto number = [&](int64_t d) {
            return at < p.points && d < p.depth ? p.inputs[at * p.depth + d] : 0.0f;
        };
        for (int64_t d = 0; d < packed_depth<T>(p.depth) + kPack<Bfloat16Element> - kPack<T>; ++d) {
            if constexpr (kPack<T> == 2) {
                lane[d * kBlockPixels] = pack_bf16x2(number(2 * d), number(2 * d + 1));
            } else {
                const bool round = p.layers[0].bfloat16;
                lane[d * kBlockPixels] = round ? to_bfloat16(number(d)) : number(d);
            }
        }
    }
}

template <class Weight, class In, class Out>
void multiply(const PackedLayer& layer, int blocks, int64_t stride, bool round, const float* from,
              float* to) {
    gemm<Weight>(layer, blocks, Bias{layer.bias}, reinterpret_cast<const In*>(from), stride,
                 epilogue_of(layer, round),
                 [&](const auto& tile, int block, int64_t row, int lane) {
                     Out* const out = reinterpret_cast<Out*>(to) + block * stride;
                     store_tile(tile, out + row / kPack<Out> * kBlockPixels + lane, kBlockPixels);
                 });
}

}  // namespace

void mlp_group(const MlpGroup& p) {
    const int64_t stride = p.widest * kBlockPixels;
    const int blocks = static_cast<int>((p.points + kBlockPixels - 1) / kBlockPixels);
    float *x = p.scratch[0], *y = p.scratch[1];
    bool rounded = p.layers[0].bfloat16;
    const AmxScope amx;
    with_element(rounded, [&](auto element) {
        using T = typename decltype(element)::Type;
        store_inputs(p, blocks, stride, reinterpret_cast<T*>(x));
    });
    for (const PackedLayer* layer = p.layers; layer != p.layers + p.layer_count; ++layer) {
        const bool last = layer + 1 == p.layers + p.layer_count;
        const bool rounds = !last && (layer->bfloat16 || layer[1].bfloat16);
        with_element(rounds, [&](auto out) {
            using Out = typename decltype(out)::Type;
            with_element(rounded, [&](auto in) {
                using In = typename decltype(in)::Type;
                if (layer->bfloat16) {
                    multiply<In, In, Out>(*layer, blocks, stride, rounds, x, y);
                } else {
                    multiply<float, In, Out>(*layer, blocks, stride, rounds, x, y);
                }
            });
        });
        rounded = rounds;
        float* const swapped = x;
        x = y;
        y = swapped;
        if (!last) continue;
        for (int64_t at = 0; at < p.points; ++at) {
            const float* const lane = x + at / kBlockPixels * stride + at % kBlockPixels;
            for (int64_t n = 0; n < layer->outputs; ++n)
                p.out[at * layer->outputs + n] = lane[n * kBlockPixels];
        }
    }
}

}  // namespace digan_fast::DIGAN_FAST_ISA
