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

    Pixel of_lane(int lane) const {
        return {row + (lane >> 1 & 1) + (lane >> 2 & 2),
                column + (lane & 1) + (lane >> 1 & 2) + (lane >> 2 & 4), parent + lane / 4};
    }
};

int64_t blocks_of(size_t pixels) {
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
    std::vector<Pixel> loose;
    std::vector<Scattered> scattered;
    Buffer base;  // [frame, block, the next stage's first outputs, 32]
    Buffer rgb;   // [frame, block, colours, 32]

    int64_t blocks() const { return static_cast<int64_t>(whole.size()) + blocks_of(loose.size()); }
    void divide(const std::vector<Pixel>& cut);
};

// Blocks that the window's border cuts, into their pixels where that makes fewer blocks.
void StageWork::divide(const std::vector<Pixel>& cut) {
    int64_t pixels = static_cast<int64_t>(loose.size());
    for (const Pixel& block : cut) pixels += area.share(block.row, block.column);
    if (blocks_of(pixels) < static_cast<int64_t>(cut.size()) + blocks_of(loose.size())) {
        for (const Pixel& block : cut) {
            for (int lane = 0; lane < kBlockLanes; ++lane) {
                const Pixel pixel = block.of_lane(lane);
                if (area.holds(pixel.row, pixel.column)) loose.push_back(pixel);
            }
        }
    } else {
        whole.insert(whole.end(), cut.begin(), cut.end());
    }
    scattered.resize(blocks_of(loose.size()));
    for (size_t i = 0; i < scattered.size() * kBlockLanes; ++i) {
        const Pixel& pixel = loose[std::min(i, loose.size() - 1)];  // the last one's fill up
        Scattered& lanes = scattered[i / kBlockLanes];
        lanes.across[i % kBlockLanes] = across.of(pixel.column);
        lanes.down[i % kBlockLanes] = down.of(pixel.row);
    }
}

class Renderer {
  public:
    explicit Renderer(const RenderParams& p);
    void run();

  private:
    void waves(int64_t video, int64_t first, int64_t frames, bool down);
    void chunk(int64_t video, int64_t first, int64_t frames);
    void find_blocks(size_t stage);
    void add_block(size_t stage, const Pixel& block);
    void stage(size_t s, int64_t video, int64_t first, int64_t frames);
    void gather(size_t s, int64_t frame, int64_t begin, Block& block, const Areas& gathered,
                int64_t copy) const;
    void put(const Pixel& pixel, const float* rgb, int64_t video, int64_t frame) const;

    const RenderParams& p_;
    RenderWeights weights_;
    std::vector<StageWork> work_;
    int64_t frames_together_;
    int64_t chunk_blocks_;  // of the coarsest grid
    int64_t repeat_;        // pixels of the picture for one of the finest grid, each way
    Areas scratch_;
    std::vector<Pixel> cut_;
};

Renderer::Renderer(const RenderParams& p)
    : p_(p),
      weights_(p),
      scratch_(p.threads, std::vector<int64_t>(3, kNodeBlocks * weights_.widest() * kBlockLanes)) {
    const size_t stages = weights_.stages().size();
    const int64_t finest = weights_.grids().back()->side;
    repeat_ = p.side / finest;
    chunk_blocks_ =
        std::max<int64_t>(1, kChunkPixels / kBlockLanes >> std::min<size_t>(62, 2 * (stages - 1)));
    const Area last =
        Area{p.top, p.left, p.top + p.height - 1, p.left + p.width - 1}.coarser(repeat_);
    const Area first = last.coarser(int64_t{1} << (stages - 1));
    frames_together_ = std::clamp<int64_t>(kChunkPixels / last.pixels(), 1, p.frames);
    frames_together_ = std::max(frames_together_, std::min<int64_t>(p.frames, p.threads / 4));
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
             {},
             {},
             {}});
    }
}

void Renderer::run() {
    StageWork& work = work_.front();
    const auto start = [&] {
        work.whole.clear();
        work.loose.clear();
        cut_.clear();
    };
    for (int64_t video = 0; video < p_.videos; ++video) {
        weights_.pack(video, p_.threads);
        waves(video, 0, 1, true);
        for (int64_t first = 0; first < p_.frames; first += frames_together_) {
            const int64_t frames = std::min(frames_together_, p_.frames - first);
            waves(video, first, frames, false);
            int64_t blocks = 0;
            start();
            for (int64_t row = work.area.top; row <= work.area.bottom; row += kBlockRows) {
                for (int64_t column = work.area.left; column <= work.area.right;
                     column += kBlockColumns) {
                    add_block(0, {row, column, 0});
                    if (++blocks % chunk_blocks_) continue;
                    chunk(video, first, frames);
                    start();
                }
            }
            if (blocks % chunk_blocks_) chunk(video, first, frames);
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

// The blocks of the coarsest grid that were added, through all stages.
void Renderer::chunk(int64_t video, int64_t first, int64_t frames) {
    if (p_.pause) p_.pause();
    for (size_t s = 0; s < work_.size(); ++s) {
        if (s) find_blocks(s);
        work_[s].divide(cut_);
        const Stage& stage = weights_.stages()[s];
        const int64_t lanes = frames * work_[s].blocks() * kBlockLanes;
        if (stage.base) work_[s].base.reserve(lanes * stage.base->outputs);
        work_[s].rgb.reserve(lanes * stage.colours);
        this->stage(s, video, first, frames);
    }
}

// The children, of the pixels of the stage before, that the window needs.
void Renderer::find_blocks(size_t s) {
    const StageWork& coarser = work_[s - 1];
    StageWork& work = work_[s];
    work.whole.clear();
    work.loose.clear();
    cut_.clear();
    int64_t parent = 0;
    for (const Pixel& block : coarser.whole) {
        for (int child = 0; child < 4; ++child, parent += kBlockLanes / 4)
            add_block(s, {2 * block.row + (child & 1) * kBlockRows,
                          2 * block.column + (child >> 1) * kBlockColumns, parent});
    }
    for (const Pixel& pixel : coarser.loose) {
        for (int child = 0; child < 4; ++child) {
            const int64_t row = 2 * pixel.row + (child >> 1),
                          column = 2 * pixel.column + (child & 1);
            if (work.area.holds(row, column)) work.loose.push_back({row, column, parent});
        }
        ++parent;
    }
}

void Renderer::add_block(size_t s, const Pixel& block) {
    const int64_t share = work_[s].area.share(block.row, block.column);
    if (share == kBlockLanes) {
        work_[s].whole.push_back(block);
    } else if (share) {
        cut_.push_back(block);
    }
}

void Renderer::stage(size_t s, int64_t video, int64_t first, int64_t frames) {
    const Stage& stage = weights_.stages()[s];
    const StageWork& work = work_[s];
    const int64_t whole = static_cast<int64_t>(work.whole.size());
    const int64_t blocks = frames * work.blocks();
    const int64_t node = std::clamp<int64_t>(blocks / (4 * p_.threads), 1, kNodeBlocks);
    const int64_t base_step = stage.base ? stage.base->outputs * kBlockLanes : 0;
    const int64_t rgb_step = stage.colours * kBlockLanes;
    // Of each worker's scattered blocks: base and colours, [rows, 32].
    const Areas gathered(s && !work.loose.empty() ? p_.threads * kNodeBlocks : 0,
                         {stage.waves.outputs * kBlockLanes, rgb_step});
    parallel_for_workers(p_.threads, (blocks + node - 1) / node, [&](int64_t task, int worker) {
        Block inside[kNodeBlocks];
        const int64_t begin = task * node;
        const int64_t count = std::min(node, blocks - begin);
        for (int64_t i = 0; i < count; ++i) {
            const int64_t frame = (begin + i) / work.blocks();
            const int64_t index = (begin + i) % work.blocks();
            Block& block = inside[i];
            block = {work.across.copy(frame),
                     work.down.copy(0),
                     nullptr,
                     nullptr,
                     nullptr,
                     work.base.data() + (begin + i) * base_step,
                     work.rgb.data() + (begin + i) * rgb_step};
            if (index >= whole) {
                block.scattered = &work.scattered[index - whole];
                if (s)
                    gather(s, frame, (index - whole) * kBlockLanes, block, gathered,
                           worker * kNodeBlocks + i);
                continue;
            }
            const Pixel& place = work.whole[index];
            block.across += work.across.of(place.column);
            block.down += work.down.of(place.row);
            if (s) {
                const StageWork& coarser = work_[s - 1];
                const int64_t parent = frame * coarser.blocks() + place.parent / kBlockLanes;
                const int64_t lane = place.parent % kBlockLanes;
                block.base =
                    coarser.base.data() + parent * stage.waves.outputs * kBlockLanes + lane;
                block.rgb_in = coarser.rgb.data() + parent * rgb_step + lane;
            }
        }
        render_node({&stage,
                     inside,
                     static_cast<int>(count),
                     {scratch_.at(worker), scratch_.at(worker, 1), scratch_.at(worker, 2)},
                     weights_.widest()});
        if (s + 1 < work_.size()) return;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t frame = (begin + i) / work.blocks();
            const int64_t index = (begin + i) % work.blocks();
            for (int lane = 0; lane < kBlockLanes; ++lane) {
                const size_t at = static_cast<size_t>((index - whole) * kBlockLanes + lane);
                if (index >= whole && at >= work.loose.size()) break;
                put(index < whole ? work.whole[index].of_lane(lane) : work.loose[at],
                    inside[i].rgb_out + lane, video, first + frame);
            }
        }
    });
}

// What was handed down to the loose pixels from `begin` on, a number for each lane.
void Renderer::gather(size_t s, int64_t frame, int64_t begin, Block& block, const Areas& gathered,
                      int64_t copy) const {
    const StageWork& coarser = work_[s - 1];
    const std::vector<Pixel>& loose = work_[s].loose;
    const auto rows = [&](const float* from, int64_t count, float* to) {
        const float* lanes[kBlockLanes];
        for (int lane = 0; lane < kBlockLanes; ++lane) {
            const size_t at = std::min(static_cast<size_t>(begin + lane), loose.size() - 1);
            const int64_t parent = loose[at].parent;
            lanes[lane] = from +
                          (frame * coarser.blocks() + parent / kBlockLanes) * count * kBlockLanes +
                          parent % kBlockLanes;
        }
        for (int64_t row = 0; row < count; ++row)
            for (int lane = 0; lane < kBlockLanes; ++lane) *to++ = lanes[lane][row * kBlockLanes];
    };
    block.base = gathered.at(copy);
    block.rgb_in = gathered.at(copy, 1);
    rows(coarser.base.data(), weights_.stages()[s].waves.outputs, gathered.at(copy));
    rows(coarser.rgb.data(), weights_.stages()[s].colours, gathered.at(copy, 1));
}

// The colours of a lane of the finest grid's blocks, [colours, 32], into the window.
void Renderer::put(const Pixel& pixel, const float* rgb, int64_t video, int64_t frame) const {
    const int64_t colours = weights_.stages().back().colours;
    const auto clipped = [](int64_t begin, int64_t length, int64_t extent) {
        return std::pair(std::max<int64_t>(0, begin), std::min(extent, begin + length));
    };
    const auto [top, bottom] = clipped(pixel.row * repeat_ - p_.top, repeat_, p_.height);
    const auto [left, right] = clipped(pixel.column * repeat_ - p_.left, repeat_, p_.width);
    for (int64_t colour = 0; colour < colours; ++colour) {
        float* const picture =
            p_.out + ((video * p_.frames + frame) * colours + colour) * p_.height * p_.width;
        for (int64_t y = top; y < bottom; ++y)
            for (int64_t x = left; x < right; ++x)
                picture[y * p_.width + x] = rgb[colour * kBlockLanes];
    }
}

}  // namespace

void render_cpu(const RenderParams& params) {
    if (params.videos == 0 || params.frames == 0) return;
    Renderer(params).run();
}

}  // namespace digan_fast
