#pragma once

#include <tuple>
#include <vector>

#include "digan_fast/render.h"
#include "fields.h"

// The arguments of rendering, and levels as Python passes them.

namespace digan_fast {

// (weight, bias, outputs, inputs, activation, gain, clamp)
using LayerTuple =
    std::tuple<std::uintptr_t, std::uintptr_t, std::int64_t, std::int64_t, int, float, float>;
// (side, sinusoids, frequency, phase, layers, to_rgb)
using LevelTuple = std::tuple<std::int64_t, std::int64_t, std::uintptr_t, std::uintptr_t,
                              std::vector<LayerTuple>, LayerTuple>;

constexpr int kCpuPrecisions = 3, kCudaPrecisions = 5;

inline RenderLayer layer_of(const LayerTuple& tuple) {
    const auto& [weight, bias, outputs, inputs, activation, gain, clamp] = tuple;
    require(outputs > 0, "outputs", std::to_string(outputs), "1 or more");
    require(inputs > 0, "inputs", std::to_string(inputs), "1 or more");
    require_clamp(clamp);
    const auto kind = static_cast<Activation>(activation);
    require_activation(kind,
                       {Activation::linear, Activation::relu, Activation::lrelu, Activation::sine});
    return {address("weight", weight), address("bias", bias), outputs, inputs, kind, gain, clamp};
}

inline RenderLevel level_of(const LevelTuple& tuple) {
    const auto& [side, sinusoids, frequency, phase, layers, to_rgb] = tuple;
    require_side(side);
    require_extent("sinusoids", sinusoids);
    require(!layers.empty(), "layers", "empty", "a layer or more");
    RenderLevel level{side, sinusoids, nullptr, nullptr, {}, layer_of(to_rgb)};
    if (sinusoids) {
        level.frequency = address("frequency", frequency);
        level.phase = address("phase", phase);
    }
    for (const LayerTuple& layer : layers) level.layers.push_back(layer_of(layer));
    return level;
}

// Everything that decides what is rendered, and where.
inline Fields<RenderParams> render_fields() {
    using Params = RenderParams;
    const std::string layer = "tuple[int, int, int, int, int, float, float]";
    const std::string type = "list[tuple[int, int, int, int, list[" + layer + "], " + layer + "]]";
    const auto levels = [type](Params& params, py::handle value) {
        for (const LevelTuple& level : from_python<std::vector<LevelTuple>>("levels", value, type))
            params.levels.push_back(level_of(level));
    };
    return {field("videos", &Params::videos),      field("frames", &Params::frames),
            field("side", &Params::side),          field("top", &Params::top),
            field("left", &Params::left),          field("height", &Params::height),
            field("width", &Params::width),        {"levels", type, false, levels},
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
