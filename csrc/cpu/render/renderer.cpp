#include <algorithm>
#include <optional>

#include "digan_fast/render.h"
#include "render/block_list.h"
#include "render/pictures.h"
#include "render/rotated_weights.h"
#include "render/stage_weights.h"
#include "runtime/scratch.h"
#include "runtime/threads.h"

namespace digan_fast {
namespace {

// Pixels of the finest grid that go through all stages at once, few enough that what a stage passes
// on, 2 or 4 bytes per pixel and channel of the next stage, stays in the last-level cache.
constexpr int64_t kChunkPixels = 16384;
// Frames of a small window that are rendered at once: their rotated weights take 0.5 MB each at
// DIGAN's widths.
constexpr int64_t kRotatedFrames = 16;

class Renderer {
  public:
    explicit Renderer(const RenderParams& p);
    void run();

  private:
    void features(int64_t video, int64_t first, int64_t frames, Axis axis);
    std::vector<Pixel> coarsest_blocks();
    void chunk(int64_t video, int64_t first, int64_t frames);
    void find_blocks(size_t stage);
    void add_block(size_t stage, const Pixel& block);
    void scatter(size_t stage, int64_t frames);
    Block whole_block(size_t stage, int64_t frame, int64_t index, int64_t frames) const;
    Block scattered_block(size_t stage, int64_t number, int64_t frames) const;
    Block storage(size_t stage, int64_t block) const;
    void stage(size_t s, int64_t video, int64_t first, int64_t frames);

    const RenderParams& p_;
    StageWeights weights_;
    Pictures pictures_;
    // Weights are rotated by each frame's phase; in int8 the features include it instead.
    const bool rotated_ = p_.precision != Precision::int8;
    std::vector<StageWork> work_;
    Rectangle window_{};  // of the finest grid
    int64_t frames_together_;
    int64_t chunk_blocks_;  // of the coarsest grid
    ScratchAreas scratch_;
    std::optional<RotatedWeights> rotated_weights_;
    std::vector<Pixel> cut_;
    size_t paired_ = 0;  // how many of the coarsest grid's blocks
};

Renderer::Renderer(const RenderParams& p)
    : p_(p),
      weights_(p),
      pictures_(p, weights_.grids().back()->side, weights_.stages().back().colours),
      scratch_(p.threads, std::vector<int64_t>(
                              3, weights_.group_blocks() * weights_.widest() * kBlockPixels)) {
    const size_t stages = weights_.stages().size();
    chunk_blocks_ =
        std::max<int64_t>(2, kChunkPixels / kBlockPixels >> std::min<size_t>(62, 2 * (stages - 1)));
    const Rectangle last =
        Rectangle::of(p.top, p.left, p.height, p.width).coarser(pictures_.repeat());
    window_ = last;
    const Rectangle first = last.coarser(int64_t{1} << (stages - 1));
    frames_together_ = std::clamp<int64_t>(kChunkPixels / last.pixels(), 1, p.frames);
    frames_together_ = std::max(frames_together_, std::min<int64_t>(p.frames, p.threads / 4));
    if (rotated_) {
        frames_together_ =
            std::min(frames_together_, std::max<int64_t>(kRotatedFrames, p.threads / 4));
        rotated_weights_.emplace(p, weights_, frames_together_);
    }
    for (size_t s = 0; s < stages; ++s) {
        const Rectangle area = last.coarser(int64_t{1} << (stages - 1 - s));
        const int64_t sinusoids = weights_.stages()[s].sinusoids;
        // Blocks, and so their children, are aligned to the coarsest grid's first pixel.
        const int64_t finer = int64_t{1} << s;
        work_.push_back({
            .area = area,
            .across = AxisTable({.begin = first.left * finer,
                                 .end = area.right,
                                 .length = kBlockColumns,
                                 .sinusoids = sinusoids,
                                 .copies = rotated_ ? 1 : frames_together_}),
            .down = AxisTable({.begin = first.top * finer,
                               .end = area.bottom,
                               .length = kBlockRows,
                               .sinusoids = sinusoids,
                               .copies = 1}),
        });
    }
}

void Renderer::run() {
    StageWork& work = work_.front();
    const std::vector<Pixel> blocks = coarsest_blocks();
    for (int64_t video = 0; video < p_.videos; ++video) {
        weights_.pack(video, p_.threads);
        features(video, 0, 1, Axis::y);
        if (rotated_) features(video, 0, 1, Axis::x);
        for (int64_t first = 0; first < p_.frames; first += frames_together_) {
            const int64_t frames = std::min(frames_together_, p_.frames - first);
            if (!rotated_) features(video, first, frames, Axis::x);
            for (size_t begin = 0; begin < blocks.size(); begin += chunk_blocks_) {
                work.whole.clear();
                work.loose.clear();
                work.paired = 0;
                cut_.clear();
                const size_t end = std::min(blocks.size(), begin + chunk_blocks_);
                for (size_t i = begin; i < end; ++i) {
                    if (i < paired_) {
                        work.whole.push_back(blocks[i]);
                        ++work.paired;
                    } else {
                        add_block(0, blocks[i]);
                    }
                }
                chunk(video, first, frames);
            }
        }
    }
}

// The blocks of the coarsest grid: first, alternately, those that are inside the window with all
// their descendants, and their mirror images, for which the same holds.
std::vector<Pixel> Renderer::coarsest_blocks() {
    const Rectangle& area = work_.front().area;
    const int64_t side = weights_.grids().front()->side;
    const int64_t finer = int64_t{1} << (work_.size() - 1);
    const auto inside = [&](int64_t row, int64_t column) {
        return (row - area.top) % kBlockRows == 0 && (column - area.left) % kBlockColumns == 0 &&
               window_.holds(row * finer, column * finer) &&
               window_.holds((row + kBlockRows) * finer - 1, (column + kBlockColumns) * finer - 1);
    };
    std::vector<Pixel> pairs, others;
    for (int64_t row = area.top; row <= area.bottom; row += kBlockRows) {
        for (int64_t column = area.left; column <= area.right; column += kBlockColumns) {
            const int64_t across = side - kBlockRows - row, along = side - kBlockColumns - column;
            const bool paired = rotated_ && inside(row, column) && inside(across, along) &&
                                (row != across || column != along);
            if (!paired) {
                others.push_back({row, column, 0});
            } else if (std::pair(row, column) < std::pair(across, along)) {
                pairs.push_back({row, column, 0});
                pairs.push_back({row, column, 0, true});
            }
        }
    }
    paired_ = pairs.size();
    pairs.insert(pairs.end(), others.begin(), others.end());
    return pairs;
}

// The features of a video's grid columns (x) or grid rows (y); the former, if weights are not
// rotated, for each frame with its phase.
void Renderer::features(int64_t video, int64_t first, int64_t frames, Axis axis) {
    const bool down = axis == Axis::y;
    std::vector<BlockAxisFeatures> tasks;
    for (size_t s = 0; s < work_.size(); ++s) {
        const RenderLevel& grid = *weights_.grids()[s];
        const AxisTable& features = down ? work_[s].down : work_[s].across;
        for (int64_t frame = 0; frame < frames; ++frame) {
            const float* phase =
                down || rotated_
                    ? nullptr
                    : grid.phase + (video * p_.frames + first + frame) * grid.sinusoids;
            for (int64_t segment = 0; segment < features.segments; ++segment) {
                tasks.push_back({.features = features.copy(frame) + segment * features.stride,
                                 .frequency = grid.frequency + video * grid.sinusoids * 2,
                                 .phase = phase,
                                 .sinusoids = grid.sinusoids,
                                 .axis = axis,
                                 .side = grid.side,
                                 .centred = rotated_,
                                 .first = features.first + segment * features.length,
                                 .segments = 1,
                                 .length = features.length});
            }
        }
    }
    parallel_for(p_.threads, static_cast<int64_t>(tasks.size()),
                 [&](int64_t i) { block_axis_features(tasks[i]); });
}

// Takes the coarsest grid's blocks that were added through all stages.
void Renderer::chunk(int64_t video, int64_t first, int64_t frames) {
    if (p_.pause) p_.pause();
    for (size_t s = 0; s < work_.size(); ++s) {
        if (s) find_blocks(s);
        work_[s].divide(cut_, frames);
        scatter(s, frames);
        const Stage& stage = weights_.stages()[s];
        const int64_t lanes = work_[s].blocks(frames) * kBlockPixels;
        if (stage.next_base) work_[s].base.reserve(lanes * stage.base_rows);
        work_[s].rgb.reserve(lanes * stage.colours);
        this->stage(s, video, first, frames);
    }
}

// Finds the children of the previous stage's pixels that the window needs.
void Renderer::find_blocks(size_t s) {
    const StageWork& coarser = work_[s - 1];
    StageWork& work = work_[s];
    work.whole.clear();
    work.loose.clear();
    cut_.clear();
    const auto child_of = [](const Pixel& block, int child, int64_t parent) {
        return Pixel{2 * block.row + (child & 1) * kBlockRows,
                     2 * block.column + (child >> 1) * kBlockColumns,
                     parent + child * kBlockPixels / 4, block.mirrored};
    };
    int64_t parent = 0;
    for (; parent < coarser.paired * kBlockPixels; parent += 2 * kBlockPixels) {
        const Pixel& block = coarser.whole[parent / kBlockPixels];
        const Pixel& image = coarser.whole[parent / kBlockPixels + 1];
        for (int child = 0; child < 4; ++child) {
            work.whole.push_back(child_of(block, child, parent));
            work.whole.push_back(child_of(image, child, parent + kBlockPixels));
        }
    }
    work.paired = 4 * coarser.paired;
    for (; parent < static_cast<int64_t>(coarser.whole.size()) * kBlockPixels;
         parent += kBlockPixels) {
        for (int child = 0; child < 4; ++child)
            add_block(s, child_of(coarser.whole[parent / kBlockPixels], child, parent));
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
    if (share == kBlockPixels) {
        work_[s].whole.push_back(block);
    } else if (share) {
        cut_.push_back(block);
    }
}

// Builds blocks of the loose pixels of all frames.
void Renderer::scatter(size_t s, int64_t frames) {
    StageWork& work = work_[s];
    const int64_t lanes = frames * static_cast<int64_t>(work.loose.size());
    work.scattered.assign(static_cast<size_t>(blocks_of(lanes)), {});
    for (size_t i = 0; i < work.scattered.size() * kBlockPixels; ++i) {
        const auto [frame, pixel] = work.loose_of(static_cast<int64_t>(i), frames);
        Scattered& block = work.scattered[i / kBlockPixels];
        const int lane = static_cast<int>(i % kBlockPixels);
        block.across[lane] = work.across.offset_of(pixel.column);
        block.down[lane] = work.down.offset_of(pixel.row);
        if (s) block.parent[lane] = work_[s - 1].lane_of(pixel.parent, frame, frames);
        if (!rotated_) {
            block.across[lane] += work.across.copy(frame) - work.across.copy(0);
            continue;
        }
        const RotatedLayer* const weights = &rotated_weights_->of(s, frame);
        if (lane == 0 || block.frames[block.frame_count - 1].weights != weights)
            block.frames[block.frame_count++] = {weights, lane, lane};
        block.frames[block.frame_count - 1].end = lane + 1;
    }
}

Block Renderer::whole_block(size_t s, int64_t frame, int64_t index, int64_t frames) const {
    const StageWork& work = work_[s];
    const auto each = static_cast<int64_t>(work.whole.size());
    const Pixel& place = work.whole[static_cast<size_t>(index)];
    Block block = storage(s, frame * each + index);
    block.across = work.across.copy(rotated_ ? 0 : frame) + work.across.offset_of(place.column);
    block.down = work.down.copy(0) + work.down.offset_of(place.row);
    if (rotated_) block.weights = &rotated_weights_->of(s, frame);
    if (s) {
        const int64_t parent = work_[s - 1].lane_of(place.parent, frame, frames);
        const Block coarser = storage(s - 1, parent / kBlockPixels);
        block.base = coarser.base_out + parent % kBlockPixels;
        block.rgb_in = coarser.rgb_out + parent % kBlockPixels;
    }
    return block;
}

Block Renderer::scattered_block(size_t s, int64_t number, int64_t frames) const {
    const StageWork& work = work_[s];
    Block block = storage(s, frames * static_cast<int64_t>(work.whole.size()) + number);
    block.across = work.across.copy(0);
    block.down = work.down.copy(0);
    block.scattered = &work.scattered[static_cast<size_t>(number)];
    if (block.scattered->frame_count == 1) block.weights = block.scattered->frames[0].weights;
    if (s) {
        const Block coarser = storage(s - 1, 0);
        block.base = coarser.base_out;
        block.rgb_in = coarser.rgb_out;
    }
    return block;
}

// Where a block of a stage writes its results.
Block Renderer::storage(size_t s, int64_t block) const {
    const Stage& stage = weights_.stages()[s];
    Block at{};
    if (stage.next_base)
        at.base_out = work_[s].base.data() + block * stage.base_rows * kBlockPixels;
    at.rgb_out = work_[s].rgb.data() + block * stage.colours * kBlockPixels;
    return at;
}

void Renderer::stage(size_t s, int64_t video, int64_t first, int64_t frames) {
    if (rotated_) rotated_weights_->rotate(s, video, first, frames);
    const Stage& stage = weights_.stages()[s];
    const StageWork& work = work_[s];
    const int64_t whole = static_cast<int64_t>(work.whole.size()), blocks = work.blocks(frames);
    // The frames' pairs of blocks form groups of their own, before all others.
    const int64_t paired = frames * work.paired, others = blocks - paired;
    const int64_t alone = frames * whole - paired;  // of these; the scattered ones follow
    const int64_t most = weights_.group_blocks();
    const int64_t group = std::clamp<int64_t>(blocks * most / (16 * p_.threads), 1, most);
    // Threads have equally many groups of equal sizes, give or take a block or a pair, so that none
    // waits long for another's last one.
    const auto groups_of = [&](int64_t count, int64_t each) {
        const int64_t fewest = (count + each - 1) / each, threads = p_.threads;
        return std::min(count, (fewest + threads - 1) / threads * threads);
    };
    const int64_t pair_groups = groups_of(paired / 2, (group + 1) / 2);
    const int64_t other_groups = groups_of(others, group);
    parallel_for_workers(p_.threads, pair_groups + other_groups, [&](int64_t task, int worker) {
        Block inside[kAmxGroupBlocks];
        const bool pairs = task < pair_groups;
        const auto begin_of = [&](int64_t index) {
            return pairs ? paired / 2 * index / pair_groups * 2
                         : others * (index - pair_groups) / other_groups;
        };
        const int64_t begin = begin_of(task), count = begin_of(task + 1) - begin;
        const int64_t first_scattered = pairs ? count : alone - begin;  // in the group
        // Blocks are ordered by frame, since a frame's blocks share its rotated weights.
        const auto place_of = [&](int64_t i) {
            const int64_t each = pairs ? work.paired : whole - work.paired, at = begin + i;
            return std::pair(at / each, at % each + (pairs ? 0 : work.paired));
        };
        for (int64_t i = 0; i < count; ++i) {
            if (i < first_scattered) {
                const auto [frame, index] = place_of(i);
                inside[i] = whole_block(s, frame, index, frames);
            } else {
                inside[i] = scattered_block(s, begin + i - alone, frames);
            }
        }
        render_group({
            .stage = &stage,
            .blocks = inside,
            .block_count = static_cast<int>(count),
            .mirror_pairs = pairs,
            .scratch = {scratch_.at(worker), scratch_.at(worker, 1), scratch_.at(worker, 2)},
            .widest = weights_.widest(),
        });
        if (s + 1 < work_.size()) return;
        const int64_t loose = frames * static_cast<int64_t>(work.loose.size());
        for (int64_t i = 0; i < count; ++i) {
            const float* const rgb = inside[i].rgb_out;
            if (i < first_scattered) {
                const auto [frame, index] = place_of(i);
                pictures_.put_block(work.whole[static_cast<size_t>(index)], rgb, video,
                                    first + frame);
                continue;
            }
            const int64_t n = (begin + i - alone) * kBlockPixels;
            for (int64_t lane = 0; lane < std::min<int64_t>(kBlockPixels, loose - n); ++lane) {
                const auto [frame, pixel] = work.loose_of(n + lane, frames);
                pictures_.put(pixel, rgb + lane, video, first + frame);
            }
        }
    });
}

}  // namespace

void render_cpu(const RenderParams& params) {
    if (params.videos == 0 || params.frames == 0) return;
    Renderer(params).run();
}

}  // namespace digan_fast
