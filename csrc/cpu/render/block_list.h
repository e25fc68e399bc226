#pragma once

// The window that is rendered, on each grid: its blocks and what they hand to the next grid.

#include <algorithm>
#include <utility>
#include <vector>

#include "render/block_kernel.h"
#include "runtime/scratch.h"

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

// A pixel of a grid, or the first one of a block. Its parent is a lane of the coarser grid's part
// of the chunk: 32 · block + lane, and behind the whole blocks the loose pixels.
struct Pixel {
    int64_t row, column, parent;
    bool mirrored = false;  // it stands for its mirror image about the grid's centre

    Pixel of_lane(int lane) const {
        return {row + (lane >> 1 & 1) + (lane >> 2 & 2),
                column + (lane & 1) + (lane >> 1 & 2) + (lane >> 2 & 4), parent + lane / 4,
                mirrored};
    }
};

inline int64_t blocks_of(int64_t pixels) { return (pixels + kBlockLanes - 1) / kBlockLanes; }

// Features along one axis of a stage's part of the grid, in groups of a block's rows or columns.
struct AxisTable {
    Scratch memory;
    int64_t first;  // the first group's first pixel
    int64_t groups;
    int64_t group;  // pixels
    int64_t step;   // numbers of a group

    // Pixels from `begin` to `end`, which is included.
    AxisTable(int64_t begin, int64_t end, int64_t pixels, int64_t sinusoids, int64_t copies)
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
    AxisTable across;  // of each frame that is rendered together
    AxisTable down;
    // A chunk of a frame: whole blocks, and pixels that the window's border leaves apart.
    std::vector<Pixel> whole = {};
    int64_t paired = 0;  // of these, at the beginning: alternately a block and its mirror image
    std::vector<Pixel> loose = {};
    // The loose pixels of all frames that go together, one frame's behind the other's.
    std::vector<Scattered> scattered = {};
    // Of the frames' whole blocks, then of the scattered ones: [block, the next stage's first
    // outputs, 32] and [block, colours, 32].
    Scratch base = {};
    Scratch rgb = {};

    // Blocks of all frames.
    int64_t blocks(int64_t frames) const {
        return frames * static_cast<int64_t>(whole.size()) + static_cast<int64_t>(scattered.size());
    }
    // A pixel of a frame in these blocks; `lane` counts those of one frame, as Pixel::parent does.
    int64_t lane_of(int64_t lane, int64_t frame, int64_t frames) const {
        const int64_t lanes = static_cast<int64_t>(whole.size()) * kBlockLanes;
        return lane < lanes
                   ? frame * lanes + lane
                   : frames * lanes + frame * static_cast<int64_t>(loose.size()) + lane - lanes;
    }
    // Number n of the loose pixels of all frames; the last one beyond them.
    std::pair<int64_t, const Pixel&> loose_of(int64_t n, int64_t frames) const {
        const auto each = static_cast<int64_t>(loose.size());
        const int64_t within = std::min(n, frames * each - 1);
        return {within / each, loose[static_cast<size_t>(within % each)]};
    }
    void divide(const std::vector<Pixel>& cut, int64_t frames);
};

}  // namespace digan_fast
