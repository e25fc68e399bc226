#pragma once

// The pixels of a rectangle of a grid as rows for products: families of four that share a base,
// paired with their mirror images about the grid's centre.

#include <algorithm>
#include <vector>

#include "digan_fast/coord_linear.h"
#include "fourier/mirrored_kernel.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace digan_fast {

inline int64_t floor_half(int64_t a) { return a / 2 - (a % 2 < 0); }

// A rectangle's pixels along one axis; positions from the centre are (start + step·i)/side.
struct GridAxis {
    Axis axis;
    int64_t side;          // of the grid
    int64_t first, count;  // the rectangle's pixels

    int64_t first_parent() const { return floor_half(first); }
    int64_t parents() const {
        return count ? floor_half(first + count - 1) - first_parent() + 1 : 0;
    }
    // For the first pixel of the first parent.
    int64_t start() const {
        const int64_t twice = 2 * (2 * first_parent()) - (side - 1);
        return axis == Axis::y ? -twice : twice;
    }
    int64_t step() const { return axis == Axis::y ? -2 : 2; }
    // Parents whose mirror images are also parents, [begin, end); an odd grid has none.
    std::pair<int64_t, int64_t> mirrored() const {
        if (side % 2) return {0, 0};
        const int64_t sum = side / 2 - 1 - 2 * first_parent();  // of two mirrored parents
        const int64_t begin = std::max<int64_t>(0, sum - (parents() - 1));
        return {begin, std::max(begin, std::min(parents(), sum + 1))};
    }
};

// A family and its mirror image, as indices of the rectangle's parents; −1: none.
struct FamilyPair {
    int64_t parent[2];
};

class GridRows {
  public:
    // With strips of so many pairs, whole families.
    GridRows(const CoordLinearParams& p, int64_t pairs_in_strip)
        : p_(p),
          families_(pairs_in_strip / kFamily),
          down_{.axis = Axis::y, .side = p.side, .first = p.top, .count = p.height},
          across_{.axis = Axis::x, .side = p.side, .first = p.left, .count = p.width},
          columns_(p.videos, {2 * across_.parents() * 2 * p.sinusoids}),
          rows_(p.videos, {2 * down_.parents() * 2 * p.sinusoids}) {
        find_pairs();
        parallel_for(p.threads, 2 * p.videos, [&](int64_t task) {
            const int64_t video = task / 2;
            const GridAxis& axis = task % 2 ? down_ : across_;
            axis_feature_table({
                .features = (task % 2 ? rows_ : columns_).at(video),
                .frequency = p.frequency + video * 2 * p.sinusoids,
                .sinusoids = p.sinusoids,
                .axis = axis.axis,
                .start = axis.start(),
                .step = axis.step(),
                .side = axis.side,
                .pixels = 2 * axis.parents(),
            });
        });
    }

    int64_t strips() const {
        return (static_cast<int64_t>(pairs_.size()) + families_ - 1) / families_;
    }
    const GridAxis& down() const { return down_; }
    const GridAxis& across() const { return across_; }

  private:
    friend struct PixelPairs;

    void find_pairs() {
        const int64_t height = down_.parents(), width = across_.parents();
        const auto [top, bottom] = down_.mirrored();
        const auto [left, right] = across_.mirrored();
        const int64_t columns = right - left, inner = (bottom - top) * columns;
        const int64_t first = top * width + left;
        const auto inside = [=](int64_t at) { return first + at / columns * width + at % columns; };
        for (int64_t i = 0; i < inner / 2; ++i)
            pairs_.push_back({{inside(i), inside(inner - 1 - i)}});
        if (inner % 2) pairs_.push_back({{inside(inner / 2), -1}});
        for (int64_t i = 0; i < height; ++i) {
            for (int64_t j = 0; j < width; ++j) {
                const bool paired = i >= top && i < bottom && j >= left && j < right;
                if (!paired) pairs_.push_back({{i * width + j, -1}});
            }
        }
    }

    const CoordLinearParams& p_;
    int64_t families_;  // in a strip
    GridAxis down_, across_;
    ScratchAreas columns_, rows_;  // features about the centre, [2K] each
    std::vector<FamilyPair> pairs_;
};

// The pixels of a strip of families: where each one's features, base and output are.
struct PixelPairs {
    int64_t count = 0;  // rows
    const float* across[kMostPairs];
    const float* down[kMostPairs];
    float x[kMostPairs], y[kMostPairs];
    int64_t offset[2][kMostPairs];            // of the outputs; −1: outside the rectangle
    int64_t parent[2][kMostPairs / kFamily];  // offset of a base; −1: none

    PixelPairs(const GridRows& grid, int64_t video, int64_t frame, int64_t strip) {
        const CoordLinearParams& p = grid.p_;
        const GridAxis &down_axis = grid.down_, &across_axis = grid.across_;
        const int64_t picture = video * p.frames + frame, width = across_axis.parents();
        const int64_t pixels = picture * p.height * p.width;
        const int64_t parents = picture * down_axis.parents() * width;
        const int64_t begin = strip * grid.families_;
        const int64_t end = std::min<int64_t>(begin + grid.families_, grid.pairs_.size());
        for (int64_t at = begin; at < end; ++at) {
            const FamilyPair& pair = grid.pairs_[at];
            for (int image = 0; image < 2; ++image)
                parent[image][at - begin] =
                    pair.parent[image] < 0 ? -1 : (parents + pair.parent[image]) * p.outputs;
            for (int64_t child = 0; child < kFamily; ++child, ++count) {
                for (int image = 0; image < 2; ++image) {
                    const int64_t mirrored = image ? 3 - child : child;
                    offset[image][count] = -1;
                    if (pair.parent[image] < 0) continue;
                    const int64_t row = 2 * (pair.parent[image] / width) + mirrored / 2;
                    const int64_t column = 2 * (pair.parent[image] % width) + mirrored % 2;
                    if (!image) place(grid, video, row, column);
                    // Within the rectangle, which may begin and end inside a family.
                    const int64_t i = row - (p.top - 2 * down_axis.first_parent());
                    const int64_t j = column - (p.left - 2 * across_axis.first_parent());
                    if (i >= 0 && i < p.height && j >= 0 && j < p.width)
                        offset[image][count] = (pixels + i * p.width + j) * p.outputs;
                }
            }
        }
    }

  private:
    void place(const GridRows& grid, int64_t video, int64_t row, int64_t column) {
        const int64_t features = 2 * grid.p_.sinusoids;
        across[count] = grid.columns_.at(video) + column * features;
        down[count] = grid.rows_.at(video) + row * features;
        const auto along = [](const GridAxis& axis, int64_t index) {
            return static_cast<float>(static_cast<double>(axis.start() + axis.step() * index) /
                                      static_cast<double>(axis.side));
        };
        x[count] = along(grid.across_, column);
        y[count] = along(grid.down_, row);
    }
};

}  // namespace digan_fast
