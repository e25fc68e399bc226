#include <algorithm>
#include <cstddef>

#include "fused/plan.h"
#include "fused/tile.cuh"

namespace digan_fast {
namespace cuda {
namespace {

constexpr std::int64_t kAlignment = 256;
// Positions on a grid are exact in float32, as kernels hold them.
constexpr std::int64_t kFarthestPlace = std::int64_t{1} << 23;
constexpr int kStepBytes = 32;

std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0); }

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

int element_bytes(Precision precision) {
    return precision == Precision::tf32 || precision == Precision::float32 ? 4 : 2;
}

// The levels on one grid: the first has sinusoids, the others stay on its grid.
struct Levels {
    const RenderLevel* begin;
    const RenderLevel* end;

    const RenderLayer& first_layer() const { return begin->layers.front(); }
    int outputs() const { return static_cast<int>((end - 1)->layers.back().outputs); }

    std::int64_t widest() const {
        std::int64_t width = 0;
        for (const RenderLevel* level = begin; level != end; ++level)
            for (const RenderLayer& layer : level->layers) width = std::max(width, layer.outputs);
        return width;
    }
    std::int64_t layers() const {
        std::int64_t count = 0;
        for (const RenderLevel* level = begin; level != end; ++level) count += level->layers.size();
        return count;
    }
};

std::vector<Levels> stages_of(const RenderParams& p) {
    std::vector<Levels> stages;
    const RenderLevel* const end = p.levels.data() + p.levels.size();
    for (const RenderLevel* level = p.levels.data(); level != end; ++level) {
        if (level->sinusoids) stages.push_back({level, level});
        stages.back().end = level + 1;
    }
    return stages;
}

int width_for(std::int64_t widest) {
    for (const int width : kWidths)
        if (widest <= width) return width;
    return 0;
}

std::int64_t products_of(const std::vector<Levels>& stages, std::size_t s) {
    if (s + 1 == stages.size()) return stages[s].layers();
    const int own = width_for(stages[s].widest()), next = width_for(stages[s + 1].widest());
    return stages[s].layers() + divide_up(next, own);
}

Area area_of(const RenderParams& p, std::int64_t side) {
    const std::int64_t factor = p.side / side;
    const std::int64_t top = floor_divide(p.top, factor), left = floor_divide(p.left, factor);
    return {static_cast<int>(top), static_cast<int>(left),
            static_cast<int>(floor_divide(p.top + p.height - 1, factor) + 1 - top),
            static_cast<int>(floor_divide(p.left + p.width - 1, factor) + 1 - left)};
}

std::int64_t pixels(const StageParams& p) {
    return static_cast<std::int64_t>(p.videos) * p.frames * p.area.height * p.area.width;
}

class Planner {
  public:
    explicit Planner(const RenderParams& p)
        : p_(p), step_(kStepBytes / element_bytes(p.precision)), levels_(stages_of(p)) {}

    RenderPlan plan() {
        RenderPlan plan{{}, 0, static_cast<int>(p_.side / p_.levels.back().side)};
        for (std::size_t s = 0; s < levels_.size(); ++s) {
            RenderStage stage = stage_of(s);
            const StageParams& params = stage.params;
            const bool is_last = s + 1 == levels_.size();
            stage.packed = reserve(params.packed_stride * params.videos);
            if (!is_last)
                stage.base_out =
                    reserve(pixels(params) * params.base_out_width * element_bytes(p_.precision));
            if (!is_last || plan.repeat > 1)
                stage.image = reserve(pixels(params) * params.colours * 4);
            plan.stages.push_back(stage);
        }
        plan.bytes = used_;
        return plan;
    }

  private:
    std::int64_t reserve(std::int64_t bytes) {
        const std::int64_t begin = used_;
        used_ += divide_up(bytes, kAlignment) * kAlignment;
        return begin;
    }

    RenderStage stage_of(std::size_t s) const {
        const Levels& levels = levels_[s];
        const bool is_last = s + 1 == levels_.size();
        RenderStage stage{{}, width_for(levels.widest()), -1, -1, -1};
        StageParams& q = stage.params;
        q.frequency = levels.begin->frequency;
        q.phase = levels.begin->phase;
        q.videos = static_cast<int>(p_.videos);
        q.frames = static_cast<int>(p_.frames);
        q.colours = static_cast<int>(levels.begin->to_rgb.outputs);
        q.sinusoids = static_cast<int>(levels.begin->sinusoids);
        q.side = static_cast<int>(levels.begin->side);
        q.area = area_of(p_, levels.begin->side);
        if (s > 0) q.below = area_of(p_, levels_[s - 1].begin->side);
        for (const RenderLevel* level = levels.begin; level != levels.end; ++level)
            for (const RenderLayer& layer : level->layers)
                add_layer(q, layer, &layer == &levels.first_layer() ? q.sinusoids : 0,
                          &layer == &level->layers.back() ? &level->to_rgb : nullptr);
        q.layers = q.products;
        if (!is_last) add_base(q, stage.width, levels.outputs(), levels_[s + 1]);
        for (int n = 0; n < q.products; ++n) q.steps += q.product[n].steps;
        // A step is 32 bytes of each of the stage's outputs.
        q.tables = static_cast<std::int64_t>(q.steps) * stage.width * kStepBytes;
        q.packed_stride =
            q.tables + static_cast<std::int64_t>(q.products) * (1 + q.colours) * stage.width * 4;
        return stage;
    }

    void add_layer(StageParams& q, const RenderLayer& layer, int sinusoids,
                   const RenderLayer* to_rgb) const {
        StageProduct& product = q.product[q.products++];
        product.weight = layer.weight;
        product.bias = layer.bias;
        product.outputs = static_cast<int>(layer.outputs);
        product.inputs = static_cast<int>(layer.inputs);
        product.sinusoids = sinusoids;
        product.depth = sinusoids ? 2 * sinusoids : product.inputs;
        product.first_input = product.inputs - product.depth;
        product.steps = static_cast<int>(divide_up(product.depth, step_));
        product.epilogue = epilogue_of(layer.activation, layer.gain, layer.clamp);
        if (!to_rgb) return;
        product.rgb_weight = to_rgb->weight;
        product.rgb_bias = to_rgb->bias;
        product.rgb_epilogue = epilogue_of(to_rgb->activation, to_rgb->gain, to_rgb->clamp);
    }

    // The part of the next grid's first layer that multiplies this grid's activations.
    void add_base(StageParams& q, int width, int depth, const Levels& next) const {
        q.base_out_width = width_for(next.widest());
        const bool halved =
            2 * q.base_out_width <= width && can_halve(width, element_bytes(p_.precision));
        for (int first = 0; first < q.base_out_width; first += width) {
            StageProduct& product = q.product[q.products++];
            product.weight = next.first_layer().weight;
            product.outputs = static_cast<int>(next.first_layer().outputs);
            product.inputs = static_cast<int>(next.first_layer().inputs);
            product.first_output = first;
            product.depth = depth;
            product.halved = halved;
            product.steps = static_cast<int>(divide_up(depth, halved ? 2 * step_ : step_));
        }
    }

    const RenderParams& p_;
    int step_;  // inputs
    std::vector<Levels> levels_;
    std::int64_t used_ = 0;
};

}  // namespace

RenderPlan plan_render(const RenderParams& params) { return Planner(params).plan(); }

}  // namespace cuda

std::string render_cuda_why_not(const RenderParams& p) {
    using namespace cuda;
    if (p.precision == Precision::int8) return "it has no int8";
    const std::int64_t colours = p.levels.front().to_rgb.outputs;
    if (colours > kMostColours)
        return "pictures have " + std::to_string(colours) + " colours; a tile holds " +
               std::to_string(kMostColours);
    for (const std::int64_t place : {p.side, p.top, p.left, p.top + p.height, p.left + p.width})
        if (place < -kFarthestPlace || place > kFarthestPlace)
            return "the window or the picture reaches beyond 2^23";
    if (p.videos * p.frames > kFarthestPlace) return "there are more than 2^23 frames";
    const std::vector<Levels> stages = stages_of(p);
    for (const Levels& levels : stages) {
        if (levels.begin->sinusoids > kFarthestPlace) return "there are more than 2^23 sinusoids";
        if (!width_for(levels.widest()))
            return "a layer has " + std::to_string(levels.widest()) + " outputs; a tile holds " +
                   std::to_string(kWidths[3]);
    }
    for (std::size_t s = 0; s < stages.size(); ++s)
        if (products_of(stages, s) > kMostProducts)
            return "a grid has " + std::to_string(products_of(stages, s)) +
                   " products; a launch takes " + std::to_string(kMostProducts);
    return "";
}

std::int64_t render_cuda_workspace(const RenderParams& params) {
    return cuda::plan_render(params).bytes;
}

}  // namespace digan_fast
