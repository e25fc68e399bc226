#pragma once

// The window on each grid: its blocks, and what they pass on to the next grid.

#include <algorithm>
#include <utility>
#include <vector>

#include "render/block_kernel.h"
#include "runtime/scratch.h"

namespace digan_fast {

inline int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// A rectangle of pixels, with inclusive ends.
struct Rectangle {
    int64_t top, left, bottom, right;

    static Rectangle of(int64_t top, int64_t left, int64_t height, int64_t width) {
        return {.top = top, .left = left, .bottom = top + height - 1, .right = left + width - 1};
    }
    Rectangle coarser(int64_t factor) const {
        return {floor_divide(top, factor), floor_divide(left, factor), floor_divide(bottom, factor),
                floor_divide(right, factor)};
    }
    bool holds(int64_t row, int64_t column) const {
        return row >= top && row <= bottom && column >= left && column <= right;
    }
    // The number of pixels inside of the block at (row, column).
    int64_t share(int64_t row, int64_t column) const {
        const int64_t rows = std::min(bottom + 1, row + kBlockRows) - std::max(top, row);
        const int64_t columns =
            std::min(right + 1, column + kBlockColumns) - std::max(left, column);
        return rows > 0 && columns > 0 ? rows * columns : 0;
    }
    int64_t pixels() const { return (bottom - top + 1) * (right - left + 1); }
};

// A pixel of a grid, or the first one of a block. Its parent is a lane of the coarser grid's part
// of the chunk: 32 · block + lane, with the loose pixels after the whole blocks.
struct Pixel {
    int64_t row, column, parent;
    bool mirrored = false;  // represents its mirror image about the grid's centre

    Pixel of_lane(int lane) const {
        return {row + (lane >> 1 & 1) + (lane >> 2 & 2),
                column + (lane & 1) + (lane >> 1 & 2) + (lane >> 2 & 4), parent + lane / 4,
                mirrored};
    }
};

inline int64_t blocks_of(int64_t pixels) { return (pixels + kBlockPixels - 1) / kBlockPixels; }

// Features along one axis of a stage's part of the grid, in segments of a block's rows or columns.
struct AxisTable {
    Scratch memory;
    int64_t first;  // the first segment's first pixel
    int64_t segments;
    int64_t length;  // pixels of a segment
    int64_t stride;  // elements per segment

    struct Extent {
        int64_t begin, end;  // pixels, inclusive
        int64_t length;      // of a segment
        int64_t sinusoids;
        int64_t copies;
    };

    explicit AxisTable(const Extent& of)
        : first(of.begin),
          segments((of.end - of.begin) / of.length + 1),
          length(of.length),
          stride(2 * of.sinusoids * of.length) {
        memory.reserve(of.copies * segments * stride);
    }
    float* copy(int64_t index) const { return memory.data() + index * segments * stride; }
    // Where a pixel's elements begin.
    int64_t offset_of(int64_t pixel) const {
        return (pixel - first) / length * stride + (pixel - first) % length;
    }
};

struct StageWork {
    Rectangle area;
    AxisTable across;  // one copy for each frame that is rendered at once
    AxisTable down;
    // A chunk of a frame: whole blocks, and loose pixels from blocks cut by the window's border.
    std::vector<Pixel> whole = {};
    int64_t paired = 0;  // the first ones: alternately a block and its mirror image
    std::vector<Pixel> loose = {};
    // The loose pixels of all frames that are rendered at once, frame after frame.
    std::vector<Scattered> scattered = {};
    // For the frames' whole blocks, then the scattered ones: [block, base_rows, 32] and
    // [block, colours, 32].
    Scratch base = {};
    Scratch rgb = {};

    // The number of blocks of all frames.
    int64_t blocks(int64_t frames) const {
        return frames * static_cast<int64_t>(whole.size()) + static_cast<int64_t>(scattered.size());
    }
    // A frame's pixel in these blocks; `lane` counts within one frame, as Pixel::parent does.
    int64_t lane_of(int64_t lane, int64_t frame, int64_t frames) const {
        const int64_t lanes = static_cast<int64_t>(whole.size()) * kBlockPixels;
        return lane < lanes
                   ? frame * lanes + lane
                   : frames * lanes + frame * static_cast<int64_t>(loose.size()) + lane - lanes;
    }
    // Frame and pixel of loose pixel n of all frames; beyond the last, the last one.
    std::pair<int64_t, const Pixel&> loose_of(int64_t n, int64_t frames) const {
        const auto each = static_cast<int64_t>(loose.size());
        const int64_t within = std::min(n, frames * each - 1);
        return {within / each, loose[static_cast<size_t>(within % each)]};
    }
    void divide(const std::vector<Pixel>& cut, int64_t frames);
};

}  // namespace digan_fast
