#include "ops/conv3x3_kernel.h"

#include "gemm/isa_traits-inl.h"
#include "ops/toom_cook.h"

namespace digan_fast::DIGAN_FAST_ISA {
namespace {

constexpr auto kSame = kThreeTaps;
constexpr auto kHalving = halving();
constexpr auto kDoubling = doubling();
constexpr auto kSameGradients = transposed(kSame.to_outputs);
constexpr auto kHalvingGradients = transposed(kHalving.to_outputs);

template <int Rows, int Columns>
constexpr int rows_of(const Matrix<Rows, Columns>&) {
    return Rows;
}
template <int Rows, int Columns>
constexpr int columns_of(const Matrix<Rows, Columns>&) {
    return Columns;
}

template <const auto& M, int row>
constexpr int first_of() {
    int column = 0;
    while (M.at[row][column] == 0) ++column;
    return column;
}

// Σ_l M[row][l] · x(Constant<l>).
template <const auto& M, int row, class X>
DIGAN_FAST_INLINE Vec combination(const X& x) {
    Vec sum;
    unrolled<columns_of(M)>([&](auto l) DIGAN_FAST_INLINE_LAMBDA {
        constexpr float factor = M.at[row][l.value];
        if constexpr (l.value == first_of<M, row>()) {
            sum = factor == 1 ? x(l) : mul(broadcast(factor), x(l));
        } else if constexpr (factor == 1) {
            sum = add(sum, x(l));
        } else if constexpr (factor != 0) {
            sum = fma(broadcast(factor), x(l), sum);
        }
    });
    return sum;
}

// Where a patch lies: its image, and its first sample along y and x, at a distance of `step`.
struct Place {
    int64_t image, y, x;
};

inline Place place_of(const Patches& patches, int64_t patch, int64_t step) {
    const int64_t in_image = patch % (patches.rows * patches.columns);
    return {.image = patch / (patches.rows * patches.columns),
            .y = in_image / patches.columns * step - patches.before,
            .x = in_image % patches.columns * step - patches.before};
}

// Samples [from, to) of `side` at an axis that has `size`, from `first` on.
struct Range {
    int64_t from, to;
    Range(int64_t first, int64_t side, int64_t size)
        : from(first < 0 ? -first : 0), to(size - first < side ? size - first : side) {}
    bool is_whole(int64_t side) const { return from == 0 && to == side; }
    bool has(int64_t i) const { return from <= i && i < to; }
};

// A row of a matrix, or a column, without its zeros: what is different for each product along y.
struct Terms {
    int count = 0;
    int at[9];
    float factor[9];

    void add(int index, float value) {
        if (value == 0) return;
        at[count] = index;
        factor[count++] = value;
    }
};

template <const auto& M>
Terms row_of(int64_t row) {
    Terms terms;
    for (int column = 0; column < columns_of(M); ++column) terms.add(column, M.at[row][column]);
    return terms;
}

template <const auto& M>
Terms column_of(int64_t column) {
    Terms terms;
    for (int row = 0; row < rows_of(M); ++row) terms.add(row, M.at[row][column]);
    return terms;
}

template <const auto& M, class Sample>
DIGAN_FAST_INLINE void factors_of(const PatchFactors& p, const Terms& along_y, float* to,
                                  const Sample& sample) {
    constexpr int side = columns_of(M);
    for (int64_t c = 0; c < p.patches.channels; c += Vec::width) {
        Vec columns[side];
        for (int x = 0; x < side; ++x) columns[x] = broadcast(0.0f);
        for (int i = 0; i < along_y.count; ++i) {
            const Vec factor = broadcast(along_y.factor[i]);
            for (int x = 0; x < side; ++x)
                columns[x] = fma(factor, sample(along_y.at[i], x, c), columns[x]);
        }
        unrolled<rows_of(M)>([&](auto q) DIGAN_FAST_INLINE_LAMBDA {
            const Vec factor = combination<M, q.value>(
                [&](auto x) DIGAN_FAST_INLINE_LAMBDA { return columns[x.value]; });
            store_some(to + q.value * p.product_stride + c, p.patches.channels - c, factor);
        });
    }
}

// The pixel that a patch begins with, which may lie outside of the images.
template <class Stored>
Stored* first_pixel(Stored* images, const Patches& patches, const Place& at) {
    return images +
           ((at.image * patches.height + at.y) * patches.width + at.x) * patches.pixel_stride;
}

template <const auto& M, class Stored>
void factors(const PatchFactors& p) {
    constexpr int side = columns_of(M);
    const Patches& patches = p.patches;
    const Terms along_y = row_of<M>(p.product);
    const int64_t step = extents_of(patches.kind).step;
    for (int64_t i = 0; i < patches.count; ++i) {
        const Place at = place_of(patches, patches.first + i, step);
        const Stored* const first = first_pixel(static_cast<const Stored*>(p.images), patches, at);
        const Range rows(at.y, side, patches.height), columns(at.x, side, patches.width);
        float* const to = p.factors + i * p.factor_stride;
        const auto sample = [&](int y, int x, int64_t c) DIGAN_FAST_INLINE_LAMBDA {
            return load_some(first + (y * patches.width + x) * patches.pixel_stride + c,
                             patches.channels - c);
        };
        if (rows.is_whole(side) && columns.is_whole(side)) {
            factors_of<M>(p, along_y, to, sample);
        } else {
            factors_of<M>(p, along_y, to, [&](int y, int x, int64_t c) DIGAN_FAST_INLINE_LAMBDA {
                return rows.has(y) && columns.has(x) ? sample(y, x, c) : broadcast(0.0f);
            });
        }
    }
}

template <const auto& M>
void factors(const PatchFactors& p) {
    if (p.number == Number::bfloat16) return factors<M, Bfloat16>(p);
    factors<M, float>(p);
}

// Whether no product before this one adds to an output's row.
template <const auto& M>
bool is_first(int64_t product, int row) {
    for (int64_t before = 0; before < product; ++before)
        if (M.at[row][before] != 0) return false;
    return true;
}

template <const auto& M>
void outputs(const PatchOutputs& p) {
    constexpr int side = rows_of(M);
    const Patches& patches = p.patches;
    const Terms along_y = column_of<M>(p.product);
    bool stored[side] = {};
    for (int y = 0; y < side; ++y) stored[y] = is_first<M>(p.product, y);
    for (int64_t i = 0; i < patches.count; ++i) {
        const Place at = place_of(patches, patches.first + i, extents_of(patches.kind).out_step);
        float* const first = first_pixel(p.images, patches, at);
        const Range rows(at.y, side, patches.height), columns(at.x, side, patches.width);
        const float* const from = p.products + i * p.row_stride;
        for (int64_t c = 0; c < patches.channels; c += Vec::width) {
            const int64_t left = patches.channels - c;
            Vec products[columns_of(M)];
            for (int q = 0; q < columns_of(M); ++q)
                products[q] = load_some(from + q * p.product_stride + c, left);
            unrolled<side>([&](auto x) DIGAN_FAST_INLINE_LAMBDA {
                if (!columns.has(x.value)) return;
                const Vec sum = combination<M, x.value>(
                    [&](auto q) DIGAN_FAST_INLINE_LAMBDA { return products[q.value]; });
                for (int k = 0; k < along_y.count; ++k) {
                    const int y = along_y.at[k];
                    if (!rows.has(y)) continue;
                    const Vec factor = broadcast(along_y.factor[k]);
                    float* const to =
                        first + (y * patches.width + x.value) * patches.pixel_stride + c;
                    store_some(
                        to, left,
                        stored[y] ? mul(factor, sum) : fma(factor, sum, load_some(to, left)));
                }
            });
        }
    }
}

template <const auto& M>
void taps_to_factors(const TapFactors& p) {
    constexpr int factors = rows_of(M);
    for (int64_t n = p.first; n < p.last;) {
        const int64_t width = panel_width(p.columns, n);
        const int64_t count = p.columns - n < width ? p.columns - n : width;
        float* const panel = p.panels + n * p.depth;
        for (int64_t k = 0; k < p.depth; ++k) {
            float taps[9][kNR] = {};
            for (int64_t i = 0; i < count; ++i) {
                const float* const from = p.weight + k * p.depth_stride + (n + i) * p.column_stride;
                for (int tap = 0; tap < 9; ++tap)
                    taps[tap][i] = p.gain * from[p.flipped ? 8 - tap : tap];
            }
            for (int64_t v = 0; v < width; v += Vec::width) {
                unrolled<factors>([&](auto y) DIGAN_FAST_INLINE_LAMBDA {
                    Vec columns[3];
                    for (int x = 0; x < 3; ++x)
                        columns[x] =
                            combination<M, y.value>([&](auto tap) DIGAN_FAST_INLINE_LAMBDA {
                                return load(taps[3 * tap.value + x] + v);
                            });
                    unrolled<factors>([&](auto x) DIGAN_FAST_INLINE_LAMBDA {
                        store(
                            panel + (y.value * factors + x.value) * p.factor_stride + k * width + v,
                            combination<M, x.value>([&](auto tap) DIGAN_FAST_INLINE_LAMBDA {
                                return columns[tap.value];
                            }));
                    });
                });
            }
        }
        n += width;
    }
}

template <const auto& M>
void gradients_of_taps(const TapGradients& p) {
    constexpr int factors = columns_of(M);
    const Terms along_y = column_of<M>(p.factor);
    for (int64_t i = 0; i < p.elements; i += Vec::width) {
        const int64_t left = p.elements - i;
        Vec sums[factors];
        for (int q = 0; q < factors; ++q) sums[q] = load_some(p.factors + q * p.elements + i, left);
        unrolled<3>([&](auto x) DIGAN_FAST_INLINE_LAMBDA {
            const Vec sum = combination<M, x.value>(
                [&](auto q) DIGAN_FAST_INLINE_LAMBDA { return sums[q.value]; });
            for (int k = 0; k < along_y.count; ++k) {
                float* const to = p.taps + (3 * along_y.at[k] + x.value) * p.elements + i;
                store_some(to, left, fma(broadcast(along_y.factor[k]), sum, load_some(to, left)));
            }
        });
    }
}

constexpr auto kSameTaps = transposed(kSame.of_taps);
constexpr auto kHalvingTaps = transposed(kHalving.of_taps);

}  // namespace

void patch_factors(const PatchFactors& p) {
    switch (p.patches.kind) {
        case PatchKind::same:
            return factors<kSame.of_inputs>(p);
        case PatchKind::halving:
            return factors<kHalving.of_inputs>(p);
        case PatchKind::doubling:
            return factors<kDoubling.of_inputs>(p);
        case PatchKind::same_gradient:
            return factors<kSameGradients>(p);
        case PatchKind::halving_gradient:
            return factors<kHalvingGradients>(p);
    }
}

void patch_outputs(const PatchOutputs& p) {
    switch (p.patches.kind) {
        case PatchKind::same:
            return outputs<kSame.to_outputs>(p);
        case PatchKind::halving:
            return outputs<kHalving.to_outputs>(p);
        default:
            return outputs<kDoubling.to_outputs>(p);
    }
}

void patch_rounding(const PatchRounding& p) {
    const Patches& patches = p.patches;
    const int64_t side = extents_of(patches.kind).out_step;
    for (int64_t i = 0; i < patches.count; ++i) {
        const Place at = place_of(patches, patches.first + i, side);
        Bfloat16* const first = first_pixel(static_cast<Bfloat16*>(p.images), patches, at);
        const Range rows(at.y, side, patches.height), columns(at.x, side, patches.width);
        for (int64_t y = rows.from; y < rows.to; ++y)
            for (int64_t x = columns.from; x < columns.to; ++x)
                narrow(first + (y * patches.width + x) * patches.pixel_stride,
                       p.outputs + ((i * side + y) * side + x) * patches.channels,
                       patches.channels);
    }
}

void tap_factors(const TapFactors& p) {
    switch (p.kind) {
        case PatchKind::same:
            return taps_to_factors<kSame.of_taps>(p);
        case PatchKind::halving:
            return taps_to_factors<kHalving.of_taps>(p);
        default:
            return taps_to_factors<kDoubling.of_taps>(p);
    }
}

void tap_gradients(const TapGradients& p) {
    if (p.kind == PatchKind::same) return gradients_of_taps<kSameTaps>(p);
    gradients_of_taps<kHalvingTaps>(p);
}

}  // namespace digan_fast::DIGAN_FAST_ISA
