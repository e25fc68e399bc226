#include "digan_fast/render.h"

#include <algorithm>

#include "buffer.h"
#include "parallel.h"
#include "render_weights.h"

namespace digan_fast {
namespace {

// Pixels of the finest grid that go through all stages together: what a stage hands to the next,
// 4 bytes for each of its pixels and of the next one's channels, stays in the last cache.
constexpr int64_t kChunkPixels = 16384;

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// A rectangle of pixels, its ends included.
struct Area {
    int64_t top, left, bottom, right;

    Area coarser(int64_t factor) const {
        return {floor_divide(top, factor), floor_divide(left, factor), floor_divide(bottom, factor),
                floor_divide(right, factor)};
    }
    bool meets_block(int64_t row, int64_t column) const {
        return row <= bottom && row + kBlockRows > top && column <= right &&
               column + kBlockColumns > left;
    }
};

// A block of a grid, and the lanes of the block of the coarser grid that are its parents.
struct Place {
    int64_t row, column;  // of its first pixel
    int64_t parent;       // index among the chunk's blocks of the coarser grid
    int lane;
};

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
    const float* at(int64_t index, int64_t pixel) const {
        return copy(index) + (pixel - first) / group * step;
    }
};

struct StageWork {
    Area area;
    Waves across;  // of each frame that is rendered together
    Waves down;
    std::vector<Place> places;
    Buffer base;  // [frame, place, the next stage's first outputs, 32]
    Buffer rgb;   // [frame, place, colours, 32]
};

class Renderer {
  public:
    explicit Renderer(const RenderParams& p);
    void run();

  private:
    void waves(int64_t video, int64_t first, int64_t frames, bool down);
    void chunk(int64_t video, int64_t first, int64_t frames);
    void find_places(size_t stage);
    void stage(size_t s, int64_t video, int64_t first, int64_t frames);
    void put(const Place& place, const float* rgb, int64_t video, int64_t frame) const;

    const RenderParams& p_;
    RenderWeights weights_;
    std::vector<StageWork> work_;
    int64_t frames_together_;
    int64_t chunk_blocks_;  // of the coarsest grid
    int64_t repeat_;        // pixels of the picture for one of the finest grid, each way
    Buffer scratch_;
    int64_t scratch_step_;
};

Renderer::Renderer(const RenderParams& p) : p_(p), weights_(p) {
    const size_t stages = weights_.stages().size();
    const int64_t finest = weights_.grids().back()->side;
    repeat_ = p.side / finest;
    frames_together_ = std::min<int64_t>(p.frames, std::max(1, p.threads / 4));
    chunk_blocks_ =
        std::max<int64_t>(1, kChunkPixels / kBlockLanes >> std::min<size_t>(62, 2 * (stages - 1)));
    const Area last =
        Area{p.top, p.left, p.top + p.height - 1, p.left + p.width - 1}.coarser(repeat_);
    const Area first = last.coarser(int64_t{1} << (stages - 1));
    for (size_t s = 0; s < stages; ++s) {
        const Area area = last.coarser(int64_t{1} << (stages - 1 - s));
        const int64_t sinusoids = weights_.stages()[s].sinusoids;
        // Blocks are counted from the coarsest grid's first pixel, and their children with them.
        const int64_t scale = int64_t{1} << s;
        work_.push_back(
            {area,
             {first.left * scale, area.right, kBlockColumns, sinusoids, frames_together_},
             {first.top * scale, area.bottom, kBlockRows, sinusoids, 1},
             {},
             {},
             {}});
    }
    scratch_step_ = 3 * kNodeBlocks * weights_.widest() * kBlockLanes;
    scratch_.reserve(p.threads * scratch_step_);
}

void Renderer::run() {
    const Area coarsest = work_.front().area;
    std::vector<Place>& places = work_.front().places;
    for (int64_t video = 0; video < p_.videos; ++video) {
        weights_.pack(video, p_.threads);
        waves(video, 0, 1, true);
        for (int64_t first = 0; first < p_.frames; first += frames_together_) {
            const int64_t frames = std::min(frames_together_, p_.frames - first);
            waves(video, first, frames, false);
            places.clear();
            for (int64_t row = coarsest.top; row <= coarsest.bottom; row += kBlockRows) {
                for (int64_t column = coarsest.left; column <= coarsest.right;
                     column += kBlockColumns) {
                    places.push_back({row, column, 0, 0});
                    if (static_cast<int64_t>(places.size()) < chunk_blocks_) continue;
                    chunk(video, first, frames);
                    places.clear();
                }
            }
            if (!places.empty()) chunk(video, first, frames);
        }
    }
}

// The waves along the rows, of one video, or along the columns, of frames with their phases.
void Renderer::waves(int64_t video, int64_t first, int64_t frames, bool down) {
    std::vector<WaveParams> tasks;
    for (size_t s = 0; s < work_.size(); ++s) {
        const RenderLevel& grid = *weights_.grids()[s];
        const Waves& waves = down ? work_[s].down : work_[s].across;
        for (int64_t frame = 0; frame < frames; ++frame) {
            const float* phase =
                down ? nullptr : grid.phase + (video * p_.frames + first + frame) * grid.sinusoids;
            for (int64_t g = 0; g < waves.groups; ++g) {
                tasks.push_back({waves.copy(frame) + g * waves.step,
                                 grid.frequency + video * grid.sinusoids * 2, phase, grid.sinusoids,
                                 down ? 1 : 0, grid.side, waves.first + g * waves.group, 1,
                                 waves.group});
            }
        }
    }
    parallel_for(p_.threads, static_cast<int64_t>(tasks.size()),
                 [&](int64_t i) { render_waves(tasks[i]); });
}

// The blocks of the coarsest grid that are in its places, through all stages.
void Renderer::chunk(int64_t video, int64_t first, int64_t frames) {
    if (p_.pause) p_.pause();
    for (size_t s = 0; s < work_.size(); ++s) {
        if (s) find_places(s);
        const Stage& stage = weights_.stages()[s];
        const int64_t lanes = frames * static_cast<int64_t>(work_[s].places.size()) * kBlockLanes;
        if (stage.base) work_[s].base.reserve(lanes * stage.base->outputs);
        work_[s].rgb.reserve(lanes * stage.colours);
        this->stage(s, video, first, frames);
    }
}

// The children, of the blocks of the stage before, that the window needs.
void Renderer::find_places(size_t s) {
    const std::vector<Place>& parents = work_[s - 1].places;
    work_[s].places.clear();
    for (size_t parent = 0; parent < parents.size(); ++parent) {
        for (int child = 0; child < 4; ++child) {
            const int64_t row = 2 * parents[parent].row + (child & 1) * kBlockRows;
            const int64_t column = 2 * parents[parent].column + (child >> 1) * kBlockColumns;
            if (work_[s].area.meets_block(row, column))
                work_[s].places.push_back({row, column, static_cast<int64_t>(parent), 8 * child});
        }
    }
}

void Renderer::stage(size_t s, int64_t video, int64_t first, int64_t frames) {
    const Stage& stage = weights_.stages()[s];
    const StageWork& work = work_[s];
    const int64_t places = static_cast<int64_t>(work.places.size());
    const int64_t blocks = frames * places;
    const int64_t node = std::clamp<int64_t>(blocks / (4 * p_.threads), 1, kNodeBlocks);
    const int64_t base_step = stage.base ? stage.base->outputs * kBlockLanes : 0;
    const int64_t rgb_step = stage.colours * kBlockLanes;
    parallel_for_workers(p_.threads, (blocks + node - 1) / node, [&](int64_t task, int worker) {
        Block inside[kNodeBlocks];
        const int64_t begin = task * node;
        const int64_t count = std::min(node, blocks - begin);
        for (int64_t i = 0; i < count; ++i) {
            const int64_t frame = (begin + i) / places;
            const Place& place = work.places[(begin + i) % places];
            Block& block = inside[i];
            block.across = work.across.at(frame, place.column);
            block.down = work.down.at(0, place.row);
            block.base = block.rgb_in = nullptr;
            if (s) {
                const StageWork& coarser = work_[s - 1];
                const int64_t parent =
                    frame * static_cast<int64_t>(coarser.places.size()) + place.parent;
                block.base =
                    coarser.base.data() + parent * stage.waves.outputs * kBlockLanes + place.lane;
                block.rgb_in = coarser.rgb.data() + parent * rgb_step + place.lane;
            }
            block.base_out = work.base.data() + (begin + i) * base_step;
            block.rgb_out = work.rgb.data() + (begin + i) * rgb_step;
        }
        render_node({&stage, inside, static_cast<int>(count),
                     scratch_.data() + worker * scratch_step_, weights_.widest()});
        if (s + 1 < work_.size()) return;
        for (int64_t i = 0; i < count; ++i)
            put(work.places[(begin + i) % places], inside[i].rgb_out, video,
                first + (begin + i) / places);
    });
}

// The colours of a block of the finest grid, [colours, 32], into the window.
void Renderer::put(const Place& place, const float* rgb, int64_t video, int64_t frame) const {
    const int64_t colours = weights_.stages().back().colours;
    const auto clipped = [](int64_t begin, int64_t length, int64_t extent) {
        return std::pair(std::max<int64_t>(0, begin), std::min(extent, begin + length));
    };
    for (int r = 0; r < kBlockRows; ++r) {
        const auto [top, bottom] = clipped((place.row + r) * repeat_ - p_.top, repeat_, p_.height);
        for (int c = 0; c < kBlockColumns; ++c) {
            const auto [left, right] =
                clipped((place.column + c) * repeat_ - p_.left, repeat_, p_.width);
            const int lane = (c & 1) | (r & 1) << 1 | (c & 2) << 1 | (r & 2) << 2 | (c & 4) << 2;
            for (int64_t colour = 0; colour < colours; ++colour) {
                float* const picture = p_.out + ((video * p_.frames + frame) * colours + colour) *
                                                    p_.height * p_.width;
                for (int64_t y = top; y < bottom; ++y)
                    for (int64_t x = left; x < right; ++x)
                        picture[y * p_.width + x] = rgb[colour * kBlockLanes + lane];
            }
        }
    }
}

}  // namespace

void render_cpu(const RenderParams& params) {
    if (params.videos == 0 || params.frames == 0) return;
    Renderer(params).run();
}

}  // namespace digan_fast
