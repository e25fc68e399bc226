#pragma once

#include "digan_fast/render.h"
#include "fields.h"

// The arguments of rendering, and levels as Python passes them.

namespace digan_fast {

constexpr int kCpuPrecisions = 3, kCudaPrecisions = 5;

inline Fields<RenderLayer> render_layer_fields() {
    using Layer = RenderLayer;
    return {field("weight", &Layer::weight),
            field("bias", &Layer::bias),
            field("outputs", &Layer::outputs),
            field("inputs", &Layer::inputs),
            field("activation", &Layer::activation),
            field("gain", &Layer::gain),
            field("clamp", &Layer::clamp)};
}

inline void require_render_layer(const RenderLayer& layer) {
    require_positive({{"outputs", layer.outputs}, {"inputs", layer.inputs}});
    require_clamp(layer.clamp);
    require_activation(layer.activation,
                       {Activation::linear, Activation::relu, Activation::lrelu, Activation::sine});
}

inline void add_render_layer(RenderLevel& level, const RenderLayer& layer) {
    require_render_layer(layer);
    level.layers.push_back(layer);
}

inline Fields<RenderLevel> render_level_fields() {
    using Level = RenderLevel;
    const Fields<RenderLayer> layer = render_layer_fields();
    const auto to_rgb = [layer](Level& level, py::handle value) {
        level.to_rgb = from_tuple("to_rgb", value, layer);
    };
    return {field("side", &Level::side),
            field("sinusoids", &Level::sinusoids),
            field("frequency", &Level::frequency, Null::left_out),
            field("phase", &Level::phase, Null::left_out),
            list_field("layers", layer, add_render_layer),
            {"to_rgb", tuple_type(layer), false, to_rgb}};
}

inline void add_render_level(RenderParams& params, const RenderLevel& level) {
    require_side(level.side);
    require_extent("sinusoids", level.sinusoids);
    require(!level.layers.empty(), "layers", "empty", "a layer or more");
    require_render_layer(level.to_rgb);
    const bool on_own_grid = level.sinusoids > 0;
    require(level.frequency || !on_own_grid, "frequency", "null", "the address of data");
    require(level.phase || !on_own_grid, "phase", "null", "the address of data");
    params.levels.push_back(level);
}

// Everything that decides what is rendered, and where.
inline Fields<RenderParams> render_fields() {
    using Params = RenderParams;
    return {field("videos", &Params::videos),
            field("frames", &Params::frames),
            field("side", &Params::side),
            field("top", &Params::top),
            field("left", &Params::left),
            field("height", &Params::height),
            field("width", &Params::width),
            list_field("levels", render_level_fields(), add_render_level),
            field("precision", &Params::precision)};
}

// Channels and sides must match from one level to the next. False if there are no frames.
inline bool check_render(const RenderParams& p, int precisions) {
    const int precision = static_cast<int>(p.precision);
    require(precision >= 0 && precision < precisions, "precision", std::to_string(precision),
            ("less than " + std::to_string(precisions)).c_str());
    require_extents({{"videos", p.videos}, {"frames", p.frames}});
    require_rectangle("window", p.top, p.left, p.height, p.width);
    require(!p.levels.empty() && p.levels.front().sinusoids > 0, "levels",
            "empty or without features", "a first level with sinusoids");
    std::int64_t channels = 0, side = 0;
    for (const RenderLevel& level : p.levels) {
        if (side) {
            require(level.side == side * (level.sinusoids ? 2 : 1), "side",
                    std::to_string(level.side), "twice the coarser one where there are sinusoids");
        }
        side = level.side;
        require_tensor("sinusoids", {level.sinusoids, p.videos, p.frames});
        channels += 2 * level.sinusoids;
        for (const RenderLayer& layer : level.layers) {
            require(layer.inputs == channels, "inputs", std::to_string(layer.inputs),
                    "the channels of the layer before, and two for each sinusoid");
            require(p.precision != Precision::int8 || layer.inputs <= kInt8Inputs, "inputs",
                    std::to_string(layer.inputs), "65536 or fewer in int8");
            channels = layer.outputs;
            require_tensor("outputs", {p.videos, layer.outputs, layer.inputs});
        }
        require(level.to_rgb.inputs == channels, "inputs", std::to_string(level.to_rgb.inputs),
                "the channels of the layer before");
        require(level.to_rgb.outputs == p.levels.front().to_rgb.outputs, "outputs",
                std::to_string(level.to_rgb.outputs), "the same number of colours at each level");
    }
    require_side(p.side);
    require(p.side % side == 0, "side", std::to_string(p.side), "a multiple of the last level's");
    require_tensor("window",
                   {p.videos, p.frames, p.levels.front().to_rgb.outputs, p.height, p.width});
    return p.videos > 0 && p.frames > 0;
}

}  // namespace digan_fast
