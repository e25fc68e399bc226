#include "digan_fast/coord_linear.h"

#include <cmath>

#include "row_work.h"

namespace digan_fast {
namespace {

int64_t floor_half(int64_t a) { return a / 2 - (a % 2 < 0); }

// Rows and columns [top, bottom) × [left, right) of the grid, all children of their parents.
struct Cells {
    int64_t top, bottom, left, right;

    int64_t count() const { return (bottom - top) * (right - left); }
};

// The rectangle in blocks of whole families: a parent on the coarser grid with its children.
class Families {
  public:
    explicit Families(const CoordLinearParams& p)
        : p_(p),
          first_row_(floor_half(p.top)),
          first_column_(floor_half(p.left)),
          rows_(p.height ? floor_half(p.top + p.height - 1) - first_row_ + 1 : 0),
          columns_(p.width ? floor_half(p.left + p.width - 1) - first_column_ + 1 : 0),
          across_(std::min(kParents, std::max<int64_t>(1, columns_))),
          down_(kParents / across_) {}

    int64_t blocks() const { return parts(rows_, down_) * parts(columns_, across_); }
    int64_t rows() const { return rows_; }
    int64_t columns() const { return columns_; }

    Cells parents(int64_t block) const {
        const int64_t wide = parts(columns_, across_);
        const int64_t top = block / wide * down_, left = block % wide * across_;
        return {top, std::min(rows_, top + down_), left, std::min(columns_, left + across_)};
    }
    // In rows and columns of the rectangle.
    Cells children(const Cells& parents) const {
        const auto clipped = [](int64_t at, int64_t begin, int64_t extent) {
            return std::clamp<int64_t>(2 * at - begin, 0, extent);
        };
        return {clipped(first_row_ + parents.top, p_.top, p_.height),
                clipped(first_row_ + parents.bottom, p_.top, p_.height),
                clipped(first_column_ + parents.left, p_.left, p_.width),
                clipped(first_column_ + parents.right, p_.left, p_.width)};
    }
    int64_t parent_row(int64_t row) const { return floor_half(p_.top + row) - first_row_; }
    int64_t parent_column(int64_t column) const {
        return floor_half(p_.left + column) - first_column_;
    }

  private:
    static constexpr int64_t kParents = kBlockOfRows / 4;
    static int64_t parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

    const CoordLinearParams& p_;
    int64_t first_row_, first_column_, rows_, columns_, across_, down_;
};

// Waves [2, K] of every column of every frame, and of every row of every video.
class AxisTables {
  public:
    explicit AxisTables(const CoordLinearParams& p)
        : p_(p),
          across_(p.videos * p.frames, {p.width * 2 * p.sinusoids}),
          down_(p.videos, {p.height * 2 * p.sinusoids}) {
        parallel_for(p.threads, p.videos * (p.frames + 1), [&](int64_t task) {
            const int64_t video = task / (p.frames + 1), frame = task % (p.frames + 1);
            const float* const frequency = p.frequency + video * p.sinusoids * 2;
            if (frame == p.frames) {
                axis_table(
                    {row(video, 0), frequency, nullptr, p.sinusoids, 1, p.side, p.top, p.height});
            } else {
                const float* const phase = p.phase + (video * p.frames + frame) * p.sinusoids;
                axis_table({column(video, frame, 0), frequency, phase, p.sinusoids, 0, p.side,
                            p.left, p.width});
            }
        });
    }
    float* column(int64_t video, int64_t frame, int64_t column) const {
        return across_.at(video * p_.frames + frame) + column * 2 * p_.sinusoids;
    }
    float* row(int64_t video, int64_t row) const {
        return down_.at(video) + row * 2 * p_.sinusoids;
    }

  private:
    const CoordLinearParams& p_;
    Areas across_, down_;
};

// The pixels of a block: where each finds its waves, its base, its output.
struct Pixels {
    int64_t count = 0;
    const float* across[kBlockOfRows];
    const float* down[kBlockOfRows];
    int64_t offset[kBlockOfRows];  // of its outputs
    int64_t parent[kBlockOfRows];  // offset of its base
    float x[kBlockOfRows], y[kBlockOfRows];

    Pixels(const CoordLinearParams& p, const Families& families, const AxisTables& tables,
           int64_t video, int64_t frame, int64_t block) {
        const Cells cells = families.children(families.parents(block));
        const int64_t picture = video * p.frames + frame;
        for (int64_t i = cells.top; i < cells.bottom; ++i) {
            for (int64_t j = cells.left; j < cells.right; ++j, ++count) {
                across[count] = tables.column(video, frame, j);
                down[count] = tables.row(video, i);
                offset[count] = ((picture * p.height + i) * p.width + j) * p.outputs;
                parent[count] =
                    ((picture * families.rows() + families.parent_row(i)) * families.columns() +
                     families.parent_column(j)) *
                    p.outputs;
                x[count] = static_cast<float>(
                    2.0 * static_cast<double>(p.left + j) / static_cast<double>(p.side) - 1);
                y[count] = static_cast<float>(2.0 * static_cast<double>(p.side - 1 - p.top - i) /
                                                  static_cast<double>(p.side) -
                                              1);
            }
        }
    }
};

}  // namespace

void coord_linear_cpu(const CoordLinearParams& p) {
    const Families families(p);
    const int64_t blocks = families.blocks(), waves = 2 * p.sinusoids;
    if (p.videos * p.frames * blocks == 0) return;
    const float scale = folded_gain(p.activation, p.gain);
    const AxisTables tables(p);
    const VideoPanels panels({nullptr, p.weight, waves, p.outputs, 1, waves, scale, 0, 0}, p.videos,
                             p.threads);
    const int64_t step = padded(waves);
    const Areas scratch(p.threads, {kBlockOfRows * step});
    const bool stream = streams(p.out, p.videos * p.frames * p.height * p.width, p.outputs);
    parallel_for_workers(p.threads, p.videos * p.frames * blocks, [&](int64_t task, int worker) {
        const int64_t video = task / (p.frames * blocks), frame = task / blocks % p.frames;
        const Pixels pixels(p, families, tables, video, frame, task % blocks);
        float* const mine = scratch.at(worker);
        float* out[kBlockOfRows];
        const float* base[kBlockOfRows];
        for (int64_t r = 0; r < pixels.count; ++r) {
            out[r] = p.out + pixels.offset[r];
            base[r] = p.base ? p.base + pixels.parent[r] : nullptr;
        }
        row_waves({mine, step, pixels.across, pixels.down, pixels.count, p.sinusoids});
        row_product({out,
                     mine,
                     step,
                     pixels.count,
                     panels.of(video),
                     waves,
                     p.outputs,
                     {p.bias, p.base ? base : nullptr, scale},
                     {p.activation, p.gain, p.clamp},
                     stream,
                     {}});
    });
}

void coord_linear_backward_cpu(const CoordLinearBackwardParams& params) {
    const CoordLinearParams& p = params.forward;
    const Families families(p);
    const int64_t blocks = families.blocks(), waves = 2 * p.sinusoids, units = p.frames * blocks;
    const AxisTables tables(p);
    const VideoPanels back({nullptr, p.weight, p.outputs, waves, waves, 1, 1.0f, 0, 0}, p.videos,
                           p.threads);
    enum Sum { kWeight, kBias, kPhase, kX, kY };
    const Parts parts(
        p.videos, units,
        {p.outputs * waves, p.outputs, p.frames * p.sinusoids, p.sinusoids, p.sinusoids});
    const int64_t dz_step = padded(p.outputs), step = padded(waves);
    // Of a worker: dz, waves, dwaves, the gradient's tail.
    const Areas scratch(p.threads, {kBlockOfRows * dz_step, kBlockOfRows * step,
                                    kBlockOfRows * step, 32 * kBlockOfRows});
    parallel_for_workers(p.threads, p.videos * parts.count(), [&](int64_t task, int worker) {
        const int64_t video = task / parts.count();
        parts.set_to_zero(task);
        float *const dz = scratch.at(worker), *const pixel_waves = scratch.at(worker, 1);
        float *const pixel_dwaves = scratch.at(worker, 2), *const tail = scratch.at(worker, 3);
        const auto [begin, end] = parts.range(task, units);
        for (int64_t unit = begin; unit < end; ++unit) {
            const int64_t frame = unit / blocks;
            const Pixels pixels(p, families, tables, video, frame, unit % blocks);
            const float *grad[kBlockOfRows], *out[kBlockOfRows];
            float* dwaves[kBlockOfRows];
            for (int64_t r = 0; r < pixels.count; ++r) {
                grad[r] = params.grad + pixels.offset[r];
                out[r] = p.out + pixels.offset[r];
                dwaves[r] = pixel_dwaves + r * step;
            }
            row_slope({dz,
                       dz_step,
                       grad,
                       out,
                       nullptr,
                       pixels.count,
                       p.outputs,
                       parts.of(task, kBias),
                       {p.activation, p.gain, p.clamp}});
            if (params.dbase) {
                // Families are whole: each parent is set by one block.
                for (int64_t r = 0; r < pixels.count; ++r)
                    std::fill_n(params.dbase + pixels.parent[r], p.outputs, 0.0f);
                for (int64_t r = 0; r < pixels.count; ++r) {
                    float* const to = params.dbase + pixels.parent[r];
                    for (int64_t n = 0; n < p.outputs; ++n) to[n] += dz[r * dz_step + n];
                }
            }
            row_waves({pixel_waves, step, pixels.across, pixels.down, pixels.count, p.sinusoids});
            row_product({dwaves,
                         dz,
                         dz_step,
                         pixels.count,
                         back.of(video),
                         p.outputs,
                         waves,
                         {nullptr, nullptr, 1.0f},
                         {Activation::linear, 1.0f, INFINITY},
                         false,
                         {}});
            row_gradient({parts.of(task, kWeight),
                          dz,
                          dz_step,
                          pixel_waves,
                          step,
                          pixels.count,
                          p.outputs,
                          waves,
                          tail,
                          {}});
            row_waves_gradient({pixel_dwaves, pixel_waves, step, pixels.x, pixels.y, pixels.count,
                                p.sinusoids, parts.of(task, kPhase) + frame * p.sinusoids,
                                parts.of(task, kX), parts.of(task, kY)});
        }
    });
    parts.add_up(params.dweight, kWeight, p.threads);
    parts.add_up(params.dphase, kPhase, p.threads);
    parts.add_up_all(params.dbias, kBias);
    const Buffer along(2 * p.videos * p.sinusoids);
    float *const by_x = along.data(), *const by_y = by_x + p.videos * p.sinusoids;
    parts.add_up(by_x, kX, 1);
    parts.add_up(by_y, kY, 1);
    for (int64_t i = 0; i < p.videos * p.sinusoids; ++i) {
        params.dfrequency[2 * i] = by_x[i];
        params.dfrequency[2 * i + 1] = by_y[i];
    }
}

}  // namespace digan_fast
