#include "digan_fast/coord_linear.h"

#include "fourier/grid_centre.h"
#include "fourier/mirror_pairs.h"
#include "ops/row_tasks.h"

namespace digan_fast {
namespace {

// sin φ′, cos φ′ of every frame, [2, K]: φ′ = φ + F·c, the phase at the grid's centre c.
ScratchAreas phase_rotations(const CoordLinearParams& p) {
    ScratchAreas rotations(p.videos * p.frames, {2 * p.sinusoids});
    parallel_for(p.threads, p.videos * p.frames, [&](int64_t picture) {
        phase_rotation(p.frequency + picture / p.frames * 2 * p.sinusoids,
                       p.phase + picture * p.sinusoids, p.sinusoids, p.side, rotations.at(picture));
    });
    return rotations;
}

// P and Q of every frame in panels.
class PicturePanels {
  public:
    PicturePanels(const CoordLinearParams& p, const ScratchAreas& rotations, RotatedColumns kind,
                  float scale)
        : memory_(p.videos * p.frames,
                  std::vector<int64_t>(2, kind == RotatedColumns::sinusoids
                                              ? panel_size(p.outputs, p.sinusoids)
                                              : panel_size(p.sinusoids, p.outputs))) {
        constexpr int64_t kTaskColumns = 128;
        const int64_t columns = kind == RotatedColumns::sinusoids ? p.sinusoids : p.outputs;
        const int64_t tasks = (columns + kTaskColumns - 1) / kTaskColumns;
        parallel_for(p.threads, p.videos * p.frames * tasks, [&](int64_t task) {
            const int64_t picture = task / tasks, first = task % tasks * kTaskColumns;
            pack_rotated_panels({
                .panels = {of(picture, 0), of(picture, 1)},
                .weight = element_at(p.weight, p.number,
                                     picture / p.frames * p.outputs * 2 * p.sinusoids),
                .number = p.number,
                .rotation = rotations.at(picture),
                .outputs = p.outputs,
                .sinusoids = p.sinusoids,
                .columns = kind,
                .scale = scale,
                .first = first,
                .last = std::min(first + kTaskColumns, columns),
            });
        });
    }
    // 0: for the sines, 1: for the cosines
    float* of(int64_t picture, size_t feature) const { return memory_.at(picture, feature); }

  private:
    ScratchAreas memory_;
};

// The pixel pairs of a strip and their rows in two tensors of the output's shape.
struct GradientRows {
    PixelPairs pairs;
    const void* grad[2][kMostPairs];
    const void* out[2][kMostPairs];

    GradientRows(const CoordLinearBackwardParams& p, const GridRows& grid, int64_t video,
                 int64_t frame, int64_t strip)
        : pairs(grid, video, frame, strip) {
        for (int image = 0; image < 2; ++image) {
            for (int64_t r = 0; r < pairs.count; ++r) {
                const int64_t offset = pairs.offset[image][r];
                const Number number = p.forward.number;
                grad[image][r] = offset < 0 ? nullptr : element_at(p.grad, number, offset);
                out[image][r] = offset < 0 ? nullptr : element_at(p.forward.out, number, offset);
            }
        }
    }
};

}  // namespace

void coord_linear_cpu(const CoordLinearParams& p) {
    const GridRows grid(p, kPairs);
    const int64_t strips = grid.strips();
    if (p.videos * p.frames * strips == 0) return;
    const float scale = folded_gain(p.activation, p.gain);
    const ScratchAreas rotations = phase_rotations(p);
    const PicturePanels panels(p, rotations, RotatedColumns::outputs, scale);
    const int64_t stride = padded(2 * p.sinusoids);
    const bool narrow = p.number == Number::bfloat16;
    const ScratchAreas scratch(
        p.threads, {kPairs * stride, kPairs * 2 * p.sinusoids, narrow ? kPairs * stride : 0});
    const bool non_temporal =
        bypasses_caches(p.out, p.number, p.videos * p.frames * p.height * p.width, p.outputs);
    parallel_for_workers(p.threads, p.videos * p.frames * strips, [&](int64_t task, int worker) {
        const int64_t picture = task / strips;
        const PixelPairs pairs(grid, picture / p.frames, picture % p.frames, task % strips);
        float* const features = scratch.at(worker);
        void* const rounded = narrow ? scratch.at(worker, 2) : nullptr;
        void* out[2][kPairs];
        const void* base[2][kPairs];
        for (int image = 0; image < 2; ++image) {
            for (int64_t r = 0; r < pairs.count; ++r) {
                const int64_t offset = pairs.offset[image][r],
                              parent = pairs.parent[image][r / kFamily];
                out[image][r] = offset < 0 ? nullptr : element_at(p.out, p.number, offset);
                base[image][r] =
                    offset < 0 || !p.base ? nullptr : element_at(p.base, p.number, parent);
            }
        }
        row_features({
            .features = features,
            .rounded = rounded,
            .stride = stride,
            .across = pairs.across,
            .down = pairs.down,
            .rows = pairs.count,
            .sinusoids = p.sinusoids,
        });
        mirrored_gemm({
            .out = {out[0], out[1]},
            .number = p.number,
            .features = narrow ? rounded : features,
            .stride = stride,
            .rows = pairs.count,
            .packed = scratch.at(worker, 1),
            .panels = {panels.of(picture, 0), panels.of(picture, 1)},
            .sinusoids = p.sinusoids,
            .columns = p.outputs,
            .bias = p.bias,
            .base = {p.base ? base[0] : nullptr, p.base ? base[1] : nullptr},
            .scale = scale,
            .activation = {.activation = p.activation, .gain = p.gain, .clamp = p.clamp},
            .non_temporal = non_temporal,
        });
    });
}

void coord_linear_backward_cpu(const CoordLinearBackwardParams& params) {
    const CoordLinearParams& p = params.forward;
    const int64_t most = strip_rows(p.number, p.videos, p.frames * p.height * p.width) / 2;
    const GridRows grid(p, most);
    const int64_t K = p.sinusoids, strips = grid.strips(), units = p.frames * strips;
    const ScratchAreas rotations = phase_rotations(p);
    const PicturePanels back(p, rotations, RotatedColumns::sinusoids, 1.0f);
    enum Sum { kWeight, kBias, kPhase, kX, kY };
    const PartialSums parts(p.videos, units, {p.outputs * 2 * K, p.outputs, p.frames * K, K, K});
    const int64_t dz_stride = padded(p.outputs), stride = padded(2 * K);
    enum Area {
        kOddDz,
        kEvenDz,
        kFeatures,
        kDfeatures,
        kTail,
        kPacked,
        kDsine,
        kDcosine,
        kPackedDz,
        kRoundedFeatures
    };
    const bool narrow = p.number == Number::bfloat16;
    const int64_t row_bytes = p.outputs * (narrow ? 2 : 4);
    const ScratchAreas scratch(
        p.threads, {most * dz_stride, most * dz_stride, most * stride, most * stride, 32 * most,
                    most * p.outputs, p.outputs * K, p.outputs * K, narrow ? most * dz_stride : 0,
                    narrow ? most * stride : 0});
    parallel_for_workers(p.threads, p.videos * parts.count(), [&](int64_t task, int worker) {
        const int64_t video = task / parts.count();
        const void* const weight = element_at(p.weight, p.number, video * p.outputs * 2 * K);
        parts.set_to_zero(task);
        float* const dz[2] = {scratch.at(worker, kOddDz), scratch.at(worker, kEvenDz)};
        float* const drotated[2] = {scratch.at(worker, kDsine), scratch.at(worker, kDcosine)};
        float *const features = scratch.at(worker, kFeatures), *const dfeatures =
                                                                   scratch.at(worker, kDfeatures);
        void* const rounded_features = narrow ? scratch.at(worker, kRoundedFeatures) : nullptr;
        const void* const feature_operand = narrow ? rounded_features : features;
        const auto [begin, end] = parts.range(task, units);
        const auto rows_of = [&](int64_t unit) {
            return GradientRows(params, grid, video, unit / strips, unit % strips);
        };
        GradientRows rows = rows_of(begin);
        for (int64_t unit = begin; unit < end; ++unit) {
            const int64_t frame = unit / strips, picture = video * p.frames + frame;
            const PixelPairs& pairs = rows.pairs;
            const GradientRows next = rows_of(std::min(unit + 1, end - 1));
            const bool first = unit == begin || unit % strips == 0;
            const bool last = unit + 1 == end || (unit + 1) % strips == 0;
            if (first)
                for (float* const sum : drotated) std::fill_n(sum, p.outputs * K, 0.0f);
            void* dbase[2][kMostPairs / kFamily];
            for (int image = 0; image < 2; ++image) {
                for (int64_t family = 0; family < pairs.count / kFamily; ++family) {
                    const int64_t parent = pairs.parent[image][family];
                    dbase[image][family] = parent < 0 || !params.dbase
                                               ? nullptr
                                               : element_at(params.dbase, p.number, parent);
                }
            }
            mirrored_activation_backward({
                .dz = {dz[0], dz[1]},
                .stride = dz_stride,
                .grad = {rows.grad[0], rows.grad[1]},
                .out = {rows.out[0], rows.out[1]},
                .dbase = {dbase[0], dbase[1]},
                .number = p.number,
                .rows = pairs.count,
                .columns = p.outputs,
                .dbias = parts.of(task, kBias),
                .activation = {.activation = p.activation, .gain = p.gain, .clamp = p.clamp},
            });
            row_features({
                .features = features,
                .rounded = rounded_features,
                .stride = stride,
                .across = pairs.across,
                .down = pairs.down,
                .rows = pairs.count,
                .sinusoids = K,
            });
            for (int feature = 0; feature < 2; ++feature) {
                void* to[kMostPairs];
                for (int64_t r = 0; r < pairs.count; ++r)
                    to[r] = dfeatures + r * stride + feature * K;
                pixel_row_gemm({
                    .out = to,
                    .out_number = Number::float32,
                    .x = dz[feature],
                    .number = p.number,
                    .x_stride = dz_stride,
                    .rows = pairs.count,
                    .packed = scratch.at(worker, kPacked),
                    .panels = back.of(picture, feature),
                    .depth = p.outputs,
                    .columns = K,
                    .start = {.bias = nullptr, .scale = 1.0f},
                    .scale = 1.0f,
                    .activation = {.activation = Activation::linear,
                                   .gain = 1.0f,
                                   .clamp = INFINITY},
                    .non_temporal = false,
                });
                weight_gradient({
                    .into = drotated[feature],
                    .dz = dz[feature],
                    .dz_stride = dz_stride,
                    .x = element_at(feature_operand, p.number, feature * K),
                    .x_stride = stride,
                    .number = p.number,
                    .rows = pairs.count,
                    .outputs = p.outputs,
                    .inputs = K,
                    .tail = scratch.at(worker, kTail),
                    .packed_dz = scratch.at(worker, kPackedDz),
                    .next = {{next.grad[feature], next.pairs.count, row_bytes},
                             {next.out[feature], next.pairs.count, row_bytes}},
                });
            }
            row_features_gradient({
                .dfeatures = dfeatures,
                .features = features,
                .stride = stride,
                .x = pairs.x,
                .y = pairs.y,
                .rows = pairs.count,
                .sinusoids = K,
                .by_x = parts.of(task, kX),
                .by_y = parts.of(task, kY),
            });
            if (last)
                rotation_backward({
                    .drotated = {drotated[0], drotated[1]},
                    .weight = weight,
                    .number = p.number,
                    .rotation = rotations.at(picture),
                    .outputs = p.outputs,
                    .sinusoids = K,
                    .dweight = parts.of(task, kWeight),
                    .dphase = parts.of(task, kPhase) + frame * K,
                });
            rows = next;
        }
    });
    parts.add_up(params.dweight, kWeight, p.threads);
    parts.add_up(params.dphase, kPhase, p.threads);
    parts.add_up_all(params.dbias, kBias);
    const Scratch along(2 * p.videos * K);
    float *const by_x = along.data(), *const by_y = by_x + p.videos * K;
    parts.add_up(by_x, kX, 1);
    parts.add_up(by_y, kY, 1);
    // θ = F·q + φ′, φ′ = φ + F·c.
    const auto centre = static_cast<float>(grid_centre(p.side));
    for (int64_t i = 0; i < p.videos * K; ++i) {
        const float* const dphase = params.dphase + i / K * p.frames * K + i % K;
        float sum = 0;
        for (int64_t frame = 0; frame < p.frames; ++frame) sum += dphase[frame * K];
        params.dfrequency[2 * i] = by_x[i] + centre * sum;
        params.dfrequency[2 * i + 1] = by_y[i] + centre * sum;
    }
}

}  // namespace digan_fast
