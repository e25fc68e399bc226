#include "digan_fast/conv3x3.h"

#include <algorithm>

#include "ops/conv3x3_kernel.h"
#include "ops/row_products.h"
#include "ops/row_tasks.h"
#include "runtime/result_pages.h"

namespace digan_fast {
namespace {

// The most patches whose factors are computed together, as floats and as terms. At 512 channels and
// stride 1, a group's factors and products for one product along y are 1.6 MB, or 6.3 MB as terms;
// besides, each group reads all factors of the taps, 38 MB. On a Zen 5 EPYC a layer of 512 channels
// takes 1.5 times as long with groups of 12 patches and 1.04 with 96, one of 256 channels 0.98 and
// 1.03.
constexpr int64_t kGroupPatches = 64, kTermsGroupPatches = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The patches of all images, in rows and columns of each.
struct PatchGrid {
    int64_t rows, columns, count;

    PatchGrid(int64_t images, int64_t height, int64_t width, int64_t side)
        : rows(ceil_div(height, side)),
          columns(ceil_div(width, side)),
          count(images * rows * columns) {}
};

Patches patches_of(PatchKind kind, const PatchGrid& grid, int64_t height, int64_t width,
                   int64_t channels, int64_t before) {
    return {.kind = kind,
            .height = height,
            .width = width,
            .channels = channels,
            .pixel_stride = channels,
            .before = before,
            .rows = grid.rows,
            .columns = grid.columns,
            .first = 0,
            .count = grid.count};
}

// Images through a convolution; `patches` are those of the result.
struct Transform {
    PatchKind kind;
    const void* from;
    void* to;
    Number number;  // of both
    int64_t images, height, width, channels, before;
    int64_t out_height, out_width, out_channels, out_before;
};

// The factors of a weight's taps: at 512 channels 38 MB, as terms 57, in memory that results left.
class Taps {
  public:
    Taps(const TapFactors& taps, int threads)
        : terms_(as_terms(taps.columns, taps.depth)),
          size_(terms_ ? terms_size(taps.depth, taps.columns)
                       : panel_size(taps.depth, taps.columns)),
          panels_(static_cast<float*>(take_pages(bytes()))) {
        constexpr int64_t kTaskColumns = 32;
        const int64_t part_size = panel_size(taps.depth, kTaskColumns);
        const ScratchAreas scratch(threads, {terms_ ? kFactors * part_size : 0});
        const int64_t tasks = ceil_div(taps.columns, kTaskColumns);
        parallel_for_workers(threads, tasks, [&](int64_t task, int worker) {
            TapFactors part = taps;
            part.first = task * kTaskColumns;
            part.last = std::min(part.first + kTaskColumns, taps.columns);
            float* const numbers = scratch.at(worker);
            part.panels = terms_ ? numbers - part.first * taps.depth : panels_;
            part.factor_stride = terms_ ? part_size : size_;
            tap_factors(part);
            if (terms_) pack_terms(part, numbers);
        });
    }
    Taps(const Taps&) = delete;
    ~Taps() { give_pages(panels_, bytes()); }

    bool terms() const { return terms_; }
    const float* of(int64_t y, int64_t x) const {
        return panels_ + (tap_factor_of(y) * kTapFactors + tap_factor_of(x)) * size_;
    }

  private:
    static constexpr int64_t kFactors = kTapFactors * kTapFactors;

    int64_t bytes() const { return kFactors * size_ * 4; }

    void pack_terms(const TapFactors& part, const float* numbers) const {
        const int64_t columns = part.last - part.first;
        for (int64_t factor = 0; factor < kFactors; ++factor)
            pack_terms_panels(
                {.panels = panels_ + factor * size_ + terms_size(part.first, part.depth),
                 .weight = numbers + factor * part.factor_stride,
                 .depth = part.depth,
                 .columns = columns,
                 .depth_stride = columns > 16 ? 32 : 16,  // as panel_width of AVX-512
                 .column_stride = 1,
                 .scale = 1.0f});
    }

    bool terms_;
    int64_t size_;
    float* panels_;
};

// Patches whose factors are computed together: an even share for each thread, in the fewest rounds,
// in fours, or in whole squares' rows as terms.
int64_t group_size(int64_t patches, int threads, bool terms) {
    const int64_t most = terms ? kTermsGroupPatches : kGroupPatches;
    const int64_t unit = terms ? kTermsSide : 4;
    const int64_t rounds = ceil_div(patches, threads * most);
    return ceil_div(ceil_div(patches, threads * rounds), unit) * unit;
}

void transform(const Transform& p, const Taps& taps, int threads) {
    const PatchExtents extents = extents_of(p.kind);
    const int64_t products = extents.products;
    const PatchGrid grid(p.images, p.out_height + p.out_before, p.out_width + p.out_before,
                         extents.out_step);
    const int64_t group = group_size(grid.count, threads, taps.terms());
    const int64_t stride = padded(p.channels);
    const int64_t out_stride =
        padded(taps.terms() ? whole_squares(p.out_channels) : p.out_channels);
    const int64_t packed = taps.terms() ? terms_size(group, p.channels) : group * p.channels;
    // Outputs that are rounded to bfloat16 are summed up before, as images of a patch each.
    const bool rounds = p.number == Number::bfloat16;
    const int64_t side = extents.out_step, summed = rounds ? side * side * p.out_channels : 0;
    enum Area { kFactors, kProducts, kPacked, kSums };
    const ScratchAreas scratch(threads, {products * group * stride, products * group * out_stride,
                                         packed, group * summed});
    parallel_for_workers(threads, ceil_div(grid.count, group), [&](int64_t task, int worker) {
        const int64_t first = task * group, count = std::min(group, grid.count - first);
        const Patches from =
            patches_of(p.kind, grid, p.height, p.width, p.channels, p.before).part(first, count);
        const Patches to =
            patches_of(p.kind, grid, p.out_height, p.out_width, p.out_channels, p.out_before)
                .part(first, count);
        float* const factors = scratch.at(worker, kFactors);
        float* const results = scratch.at(worker, kProducts);
        float* const sums = scratch.at(worker, kSums);
        const PatchGrid one(1, side, side, side);
        const Patches own = patches_of(p.kind, one, side, side, p.out_channels, 0).part(0, count);
        for (int64_t y = 0; y < products; ++y) {
            patch_factors({.patches = from,
                           .images = p.from,
                           .number = p.number,
                           .factors = factors,
                           .factor_stride = stride,
                           .product_stride = group * stride,
                           .product = y});
            for (int64_t x = 0; x < products; ++x)
                row_product({.factors = {.terms = taps.terms(),
                                         .x = factors + x * group * stride,
                                         .number = Number::float32,
                                         .x_stride = stride,
                                         .rows = count,
                                         .packed = scratch.at(worker, kPacked),
                                         .panels = taps.of(y, x),
                                         .depth = p.channels,
                                         .columns = p.out_channels},
                             .out = results + x * group * out_stride,
                             .out_stride = out_stride,
                             .bias = nullptr});
            patch_outputs({.patches = rounds ? own : to,
                           .images = rounds ? sums : static_cast<float*>(p.to),
                           .products = results,
                           .row_stride = out_stride,
                           .product_stride = group * out_stride,
                           .product = y});
        }
        if (rounds) patch_rounding({.patches = to, .images = p.to, .outputs = sums});
    });
}

TapFactors taps_of(const Conv3x3Shape& s, const float* weight, PatchKind kind) {
    return {.kind = kind,
            .flipped = false,
            .weight = weight,
            .gain = s.gain,
            .depth = s.inputs,
            .columns = s.outputs,
            .depth_stride = 9,
            .column_stride = 9 * s.inputs,
            .panels = nullptr,
            .factor_stride = 0,
            .first = 0,
            .last = 0};
}

TapFactors adjoint_taps_of(const Conv3x3Shape& s, const float* weight, PatchKind kind) {
    return {.kind = kind,
            .flipped = kind == PatchKind::same,
            .weight = weight,
            .gain = s.gain,
            .depth = s.outputs,
            .columns = s.inputs,
            .depth_stride = 9 * s.inputs,
            .column_stride = 9,
            .panels = nullptr,
            .factor_stride = 0,
            .first = 0,
            .last = 0};
}

}  // namespace

void conv3x3_cpu(const Conv3x3Params& p) {
    const Conv3x3Shape& s = p.shape;
    const PatchKind kind = s.stride == 1 ? PatchKind::same : PatchKind::halving;
    transform({.kind = kind,
               .from = p.x,
               .to = p.result,
               .number = p.number,
               .images = s.images,
               .height = s.height,
               .width = s.width,
               .channels = s.inputs,
               .before = s.padding,
               .out_height = s.out_height(),
               .out_width = s.out_width(),
               .out_channels = s.outputs,
               .out_before = 0},
              Taps(taps_of(s, p.weight, kind), p.threads), p.threads);
}

void conv3x3_input_gradient_cpu(const Conv3x3Params& p) {
    const Conv3x3Shape& s = p.shape;
    const PatchKind kind = s.stride == 1 ? PatchKind::same : PatchKind::doubling;
    transform({.kind = kind,
               .from = p.grad,
               .to = p.result,
               .number = p.number,
               .images = s.images,
               .height = s.out_height(),
               .width = s.out_width(),
               .channels = s.outputs,
               .before = s.stride == 1 ? 2 - s.padding : 1,
               .out_height = s.height,
               .out_width = s.width,
               .out_channels = s.inputs,
               .out_before = s.stride == 1 ? 0 : s.padding},
              Taps(adjoint_taps_of(s, p.weight, kind), p.threads), p.threads);
}

void conv3x3_weight_gradient_cpu(const Conv3x3Params& p) {
    const Conv3x3Shape& s = p.shape;
    const PatchKind kind = s.stride == 1 ? PatchKind::same : PatchKind::halving;
    const PatchKind grad_kind =
        s.stride == 1 ? PatchKind::same_gradient : PatchKind::halving_gradient;
    const PatchExtents extents = extents_of(kind);
    const int64_t products = extents.products;
    const PatchGrid grid(s.images, s.out_height(), s.out_width(), extents.out_step);
    // A block of the weight is a task; every element is a sum in the same order in any of them.
    int64_t outputs = std::min<int64_t>(s.outputs, 256), inputs = std::min<int64_t>(s.inputs, 256);
    const auto tasks = [&] { return ceil_div(s.outputs, outputs) * ceil_div(s.inputs, inputs); };
    // As terms, sums lie in whole squares.
    const bool terms = as_terms(s.outputs, s.inputs);
    while (tasks() % p.threads && tasks() < 2 * p.threads && std::max(outputs, inputs) > 32) {
        int64_t& longer = inputs > outputs ? inputs : outputs;
        longer = terms ? whole_squares(longer / 2) : longer / 2;
    }
    const int64_t dz_stride = padded(outputs), x_stride = padded(inputs);
    const int64_t most = terms ? whole_squares(outputs) * whole_squares(inputs) : outputs * inputs;
    enum Area { kGrads, kInputs, kSums, kTaps, kTail, kPackedGrads };
    const ScratchAreas scratch(
        p.threads,
        {products * kStripRows * dz_stride, products * kStripRows * x_stride, kTapFactors * most,
         9 * most, terms ? terms_size(kStripRows, kTermsSide) : 32 * kStripRows,
         terms ? terms_size(kStripRows, outputs) : 0});
    parallel_for_workers(p.threads, tasks(), [&](int64_t task, int worker) {
        const int64_t across = ceil_div(s.inputs, inputs);
        const int64_t n = task / across * outputs, i = task % across * inputs;
        const int64_t rows = std::min(outputs, s.outputs - n);
        const int64_t columns = std::min(inputs, s.inputs - i);
        const int64_t elements =
            terms ? whole_squares(rows) * whole_squares(columns) : rows * columns;
        float* const grads = scratch.at(worker, kGrads);
        float* const factors = scratch.at(worker, kInputs);
        float *const sums = scratch.at(worker, kSums), *const taps = scratch.at(worker, kTaps);
        Patches grad_patches = patches_of(grad_kind, grid, s.out_height(), s.out_width(), rows, 0);
        grad_patches.pixel_stride = s.outputs;
        Patches x_patches = patches_of(kind, grid, s.height, s.width, columns, s.padding);
        x_patches.pixel_stride = s.inputs;
        std::fill_n(taps, 9 * elements, 0.0f);
        // Products that share a factor of the taps are summed in its gradient.
        for (int64_t y = 0; y < products; ++y) {
            if (y < kTapFactors) std::fill_n(sums, kTapFactors * elements, 0.0f);
            for (int64_t first = 0; first < grid.count; first += kStripRows) {
                const int64_t count = std::min(kStripRows, grid.count - first);
                patch_factors({.patches = grad_patches.part(first, count),
                               .images = element_at(p.grad, p.number, n),
                               .number = p.number,
                               .factors = grads,
                               .factor_stride = dz_stride,
                               .product_stride = kStripRows * dz_stride,
                               .product = y});
                patch_factors({.patches = x_patches.part(first, count),
                               .images = element_at(p.x, p.number, i),
                               .number = p.number,
                               .factors = factors,
                               .factor_stride = x_stride,
                               .product_stride = kStripRows * x_stride,
                               .product = y});
                for (int64_t x = 0; x < products; ++x)
                    gradient_product({.terms = terms,
                                      .in_squares = terms,
                                      .into = sums + tap_factor_of(x) * elements,
                                      .dz = grads + x * kStripRows * dz_stride,
                                      .dz_stride = dz_stride,
                                      .x = factors + x * kStripRows * x_stride,
                                      .x_stride = x_stride,
                                      .packed_x = nullptr,
                                      .number = Number::float32,
                                      .rows = count,
                                      .outputs = rows,
                                      .inputs = columns,
                                      .tail = scratch.at(worker, kTail),
                                      .packed_dz = scratch.at(worker, kPackedGrads)});
            }
            if (y + 1 < products && y + 1 >= kTapFactors) continue;
            tap_gradients({.kind = kind,
                           .taps = taps,
                           .factors = sums,
                           .elements = elements,
                           .factor = tap_factor_of(y)});
        }
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < columns; ++c) {
                const int64_t element = terms ? terms_element(r, c, rows) : r * columns + c;
                for (int64_t tap = 0; tap < 9; ++tap)
                    p.dweight[((n + r) * s.inputs + i + c) * 9 + tap] =
                        s.gain * taps[tap * elements + element];
            }
    });
}

}  // namespace digan_fast
