#include "render_blocks.h"

#include "node_parts.h"
#include "render_int8.h"
#include "waves.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

void put_waves(float* out, const Block& block, int64_t sinusoids, bool round) {
    waves_of<true>(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        float* const to = out + 2 * k * kLanes + v * Vec::width;
        store(to, sin);
        store(to + kLanes, cos);
        if (!round) return;
        for (int i = 0; i < Vec::width; ++i) {
            to[i] = to_bfloat16(to[i]);
            to[kLanes + i] = to_bfloat16(to[kLanes + i]);
        }
    });
}

#if defined(__AVX512BF16__)
void put_waves(Pair* out, const Block& block, int64_t sinusoids, bool) {
    waves_of<true>(block, sinusoids, [&](int64_t k, int v, Vec sin, Vec cos) {
        Tile<2> tile;
        tile.v[0][0] = tile.v[0][1] = sin;
        tile.v[1][0] = tile.v[1][1] = cos;
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(sin.v));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(cos.v));
        _mm512_storeu_si512(out + k * kLanes + v * Vec::width,
                            _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    });
}
#endif

// Panels and activations of T: float, or pairs of bfloat16.
template <class T>
struct Node {
    const NodeParams& p;
    const bool round;
    const int64_t step = p.widest * kLanes;
    T* const scratch[3] = {reinterpret_cast<T*>(p.scratch[0]), reinterpret_cast<T*>(p.scratch[1]),
                           reinterpret_cast<T*>(p.scratch[2])};

    // Activations to the rows of `to`.
    template <class Start>
    void layer(const PackedLayer& layer, const Start& start, const T* from, T* to) const {
        product(layer, p.count, start, from, step, finishing(layer, round),
                [&](const auto& tile, int block, int64_t row, int lane) {
                    put(tile, to + block * step + row / kTogether<T> * kLanes + lane, kLanes);
                });
    }

    void run() const {
        const Stage& stage = *p.stage;
        for (int b = 0; b < p.count; ++b)
            put_waves(scratch[0] + b * step, p.blocks[b], stage.sinusoids, round);
        T *x = scratch[1], *y = scratch[2];
        if (p.blocks[0].base) {
            layer(stage.waves, Upsampled{p.blocks}, scratch[0], x);
        } else {
            layer(stage.waves, Bias{stage.waves.bias}, scratch[0], x);
        }
        for (int b = 0; b < p.count; ++b) start_colours(p.blocks[b], stage.colours);
        for (const PackedLevel* level = stage.levels; level != stage.levels + stage.count;
             ++level) {
            for (int64_t i = 0; i < level->count; ++i) {
                layer(level->layers[i], Bias{level->layers[i].bias}, x, y);
                T* const swapped = x;
                x = y;
                y = swapped;
            }
            add_colours(p, level->to_rgb, x, step);
        }
        if (stage.base) {
            product(*stage.base, p.count, Bias{stage.base->bias}, x, step,
                    finishing(*stage.base, false),
                    [&](const auto& tile, int block, int64_t row, int lane) {
                        put(tile, p.blocks[block].base_out + row * kLanes + lane, kLanes);
                    });
        }
    }
};

}  // namespace

void render_waves(const WaveParams& p) {
    // x = 2i/side − 1 to the right, or y = 2(side − 1 − i)/side − 1 upwards.
    const int64_t start = p.axis ? p.side - 2 : -p.side, step = p.axis ? -2 : 2;
    const Axis axis{p.frequency, p.phase, p.sinusoids, p.axis, start, step, p.side};
    for (int64_t g = 0; g < p.groups; ++g) {
        float* const waves = p.waves + g * p.sinusoids * 2 * p.group;
        axis_waves(axis, p.first + g * p.group, p.group,
                   [&](int64_t k, int64_t i, float sine, float cosine) {
                       waves[k * 2 * p.group + i] = sine;
                       waves[k * 2 * p.group + p.group + i] = cosine;
                   });
    }
}

void render_node(const NodeParams& p) {
    if (p.stage->precision == Precision::int8) return render_node_int8(p);
#if defined(__AVX512BF16__)
    if (p.stage->precision == Precision::bfloat16) return Node<Pair>{p, false}.run();
#endif
    Node<float>{p, p.stage->precision == Precision::bfloat16}.run();
}

}  // namespace digan_fast::DIGAN_FAST_ISA
