#pragma once

// The window that is rendered, on each grid: its blocks and what they hand to the next grid.

#include <algorithm>
#include <vector>

#include "buffer.h"
#include "render_blocks.h"

namespace digan_fast {

inline int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// A rectangle of pixels, its ends included.
struct Area {
    int64_t top, left, bottom, right;

    Area coarser(int64_t factor) const {
        return {floor_divide(top, factor), floor_divide(left, factor), floor_divide(bottom, factor),
                floor_divide(right, factor)};
    }
    bool holds(int64_t row, int64_t column) const {
        return row >= top && row <= bottom && column >= left && column <= right;
    }
    // Pixels of the block at (row, column) that lie inside.
    int64_t share(int64_t row, int64_t column) const {
        const int64_t rows = std::min(bottom + 1, row + kBlockRows) - std::max(top, row);
        const int64_t columns =
            std::min(right + 1, column + kBlockColumns) - std::max(left, column);
        return rows > 0 && columns > 0 ? rows * columns : 0;
    }
    int64_t pixels() const { return (bottom - top + 1) * (right - left + 1); }
};

// A pixel of a grid, or the first one of a block. Its parent is a lane of the coarser grid's blocks
// in the chunk: 32 · block + lane.
struct Pixel {
    int64_t row, column, parent;
    bool mirrored = false;  // it stands for its mirror image about the grid's centre

    Pixel of_lane(int lane) const {
        return {row + (lane >> 1 & 1) + (lane >> 2 & 2),
                column + (lane & 1) + (lane >> 1 & 2) + (lane >> 2 & 4), parent + lane / 4,
                mirrored};
    }
};

inline int64_t blocks_of(size_t pixels) {
    return (static_cast<int64_t>(pixels) + kBlockLanes - 1) / kBlockLanes;
}

// Waves along one axis of a stage's part of the grid, in groups of a block's rows or columns.
struct Waves {
    Buffer memory;
    int64_t first;  // the first group's first pixel
    int64_t groups;
    int64_t group;  // pixels
    int64_t step;   // numbers of a group

    // Pixels from `begin` to `end`, which is included.
    Waves(int64_t begin, int64_t end, int64_t pixels, int64_t sinusoids, int64_t copies)
        : first(begin),
          groups((end - begin) / pixels + 1),
          group(pixels),
          step(2 * sinusoids * pixels) {
        memory.reserve(copies * groups * step);
    }
    float* copy(int64_t index) const { return memory.data() + index * groups * step; }
    // Where a pixel's numbers begin.
    int64_t of(int64_t pixel) const {
        return (pixel - first) / group * step + (pixel - first) % group;
    }
};

struct StageWork {
    Area area;
    Waves across;  // of each frame that is rendered together
    Waves down;
    // The blocks of a chunk: whole ones, and behind them the pixels that the window's border leaves
    // apart, 32 by 32.
    std::vector<Pixel> whole;
    int64_t paired = 0;  // of these, at the beginning: by turns a block and its mirror image
    std::vector<Pixel> loose;
    std::vector<Scattered> scattered;
    Buffer base;  // [frame, block, the next stage's first outputs, 32]
    Buffer rgb;   // [frame, block, colours, 32]

    int64_t blocks() const { return static_cast<int64_t>(whole.size()) + blocks_of(loose.size()); }
    void divide(const std::vector<Pixel>& cut);
};

}  // namespace digan_fast
