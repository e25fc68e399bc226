#pragma once

// The pictures that a window of the finest grid becomes.

#include <algorithm>
#include <utility>

#include "digan_fast/render.h"
#include "render/block_list.h"

namespace digan_fast {

class Pictures {
  public:
    // side: pixels of the finest grid per axis.
    Pictures(const RenderParams& params, int64_t side, int64_t colours)
        : p_(params), end_(side - 1), repeat_(params.side / side), colours_(colours) {
        for (int lane = 0; lane < kBlockPixels; ++lane) {
            const Pixel place = Pixel{}.of_lane(lane);
            offsets_[lane] = place.row * p_.width + place.column;
        }
    }

    // Pixels of a picture per pixel of the finest grid and axis.
    int64_t repeat() const { return repeat_; }

    // Writes the colours of a block's lanes, [colours, 32], to a frame.
    void put_block(const Pixel& block, const float* rgb, int64_t video, int64_t frame) const {
        const Place first = place_of(block), last = place_of(block.of_lane(kBlockPixels - 1));
        if (repeat_ > 1 || !holds(first) || !holds(last)) {
            for (int lane = 0; lane < kBlockPixels; ++lane)
                put(block.of_lane(lane), rgb + lane, video, frame);
            return;
        }
        const int64_t direction = block.mirrored ? -1 : 1;
        for (int64_t colour = 0; colour < colours_; ++colour, rgb += kBlockPixels) {
            float* const to = picture(video, frame, colour) + first.row * p_.width + first.column;
            for (int lane = 0; lane < kBlockPixels; ++lane)
                to[direction * offsets_[lane]] = rgb[lane];
        }
    }

    // Writes those of one lane.
    void put(const Pixel& pixel, const float* rgb, int64_t video, int64_t frame) const {
        const auto clipped = [](int64_t begin, int64_t length, int64_t extent) {
            return std::pair(std::max<int64_t>(0, begin), std::min(extent, begin + length));
        };
        const Place place = place_of(pixel);
        const auto [top, bottom] = clipped(place.row, repeat_, p_.height);
        const auto [left, right] = clipped(place.column, repeat_, p_.width);
        for (int64_t colour = 0; colour < colours_; ++colour) {
            float* const to = picture(video, frame, colour);
            for (int64_t y = top; y < bottom; ++y)
                for (int64_t x = left; x < right; ++x)
                    to[y * p_.width + x] = rgb[colour * kBlockPixels];
        }
    }

  private:
    // Relative to the window.
    struct Place {
        int64_t row, column;
    };

    Place place_of(const Pixel& pixel) const {
        const int64_t row = pixel.mirrored ? end_ - pixel.row : pixel.row;
        const int64_t column = pixel.mirrored ? end_ - pixel.column : pixel.column;
        return {row * repeat_ - p_.top, column * repeat_ - p_.left};
    }
    bool holds(const Place& place) const {
        return place.row >= 0 && place.row < p_.height && place.column >= 0 &&
               place.column < p_.width;
    }
    float* picture(int64_t video, int64_t frame, int64_t colour) const {
        return p_.out + ((video * p_.frames + frame) * colours_ + colour) * p_.height * p_.width;
    }

    const RenderParams& p_;
    int64_t end_, repeat_, colours_;
    int64_t offsets_[kBlockPixels];  // of lanes in a picture
};

}  // namespace digan_fast
