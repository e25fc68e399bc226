#pragma once

#include <algorithm>

#include "digan_fast/coord_mlp.h"
#include "fields.h"

// The arguments of coordinate MLPs, and layers as Python passes them.

namespace digan_fast {

inline Fields<CoordMlpLayer> mlp_layer_fields() {
    using Layer = CoordMlpLayer;
    return {field("weight", &Layer::weight),
            field("own_weights", &Layer::own_weights),
            field("bias", &Layer::bias, Null::left_out),
            field("scale", &Layer::scale, Null::left_out),
            field("shift", &Layer::shift, Null::left_out),
            field("input_scale", &Layer::input_scale, Null::left_out),
            field("input_shift", &Layer::input_shift, Null::left_out),
            field("outputs", &Layer::outputs),
            field("inputs", &Layer::inputs),
            field("activation", &Layer::activation),
            field("omega", &Layer::omega),
            field("skip", &Layer::skip),
            field("number", &Layer::number)};
}

inline void add_mlp_layer(CoordMlpParams& params, const CoordMlpLayer& layer) {
    require_positive({{"outputs", layer.outputs}, {"inputs", layer.inputs}});
    require_activation(layer.activation,
                       {Activation::linear, Activation::relu, Activation::lrelu, Activation::tanh,
                        Activation::sigmoid, Activation::sine, kGauss});
    params.layers.push_back(layer);
}

inline bool check_mlp_network(const CoordMlpParams& params) {
    require_extents({{"sets", params.sets}, {"points", params.points}});
    require(!params.layers.empty(), "layers", "empty", "a layer or more");
    require(!params.encoded || params.layers.size() > 1, "encoded", "true", "two layers or more");
    for (const CoordMlpLayer* layer : {&params.layers.front(), &params.layers.back()})
        require(layer->number == Number::float32, "number",
                std::to_string(static_cast<int>(layer->number)),
                "0, float32, for the first and the last layer");
    for (std::size_t i = 0; i < params.layers.size(); ++i) {
        const CoordMlpLayer& layer = params.layers[i];
        require(!layer.skip || i > 0, "skip", "true for the first layer", "false");
        const std::int64_t width = i ? params.layers[i - 1].outputs : layer.inputs;
        const std::int64_t features = layer.skip ? network_inputs(params) : 0;
        require(features <= layer.inputs && layer.inputs - features == width, "inputs",
                std::to_string(layer.inputs),
                "the outputs of the layer before, and with skip the network's inputs");
        require_tensor("sets", {params.sets, layer.outputs, layer.inputs});
        require_tensor("points",
                       {params.sets, params.points, std::max(layer.outputs, layer.inputs)});
    }
    return params.sets > 0 && params.points > 0;
}

inline Fields<CoordMlpParams> mlp_network_fields() {
    using Params = CoordMlpParams;
    return {field("coordinates", &Params::coordinates),
            field("own_coordinates", &Params::own_coordinates),
            field("encoded", &Params::encoded),
            field("sets", &Params::sets),
            field("points", &Params::points),
            list_field("layers", mlp_layer_fields(), add_mlp_layer)};
}

inline Fields<CoordMlpLayerGradient> mlp_layer_gradient_fields() {
    using Gradient = CoordMlpLayerGradient;
    return {field("weight", &Gradient::weight, Null::left_out),
            field("bias", &Gradient::bias, Null::left_out),
            field("scale", &Gradient::scale, Null::left_out),
            field("shift", &Gradient::shift, Null::left_out),
            field("input_scale", &Gradient::input_scale, Null::left_out),
            field("input_shift", &Gradient::input_shift, Null::left_out)};
}

inline void add_mlp_layer_gradient(CoordMlpBackwardParams& params,
                                   const CoordMlpLayerGradient& layer) {
    params.gradients.push_back(layer);
}

inline Fields<CoordMlpBackwardParams> mlp_gradient_fields() {
    using Backward = CoordMlpBackwardParams;
    return {field("grad", &Backward::grad),
            field("dcoordinates", &Backward::dcoordinates, Null::left_out),
            list_field("gradients", mlp_layer_gradient_fields(), add_mlp_layer_gradient)};
}

inline void check_mlp_gradients(const CoordMlpBackwardParams& params) {
    require(params.gradients.size() == params.forward.layers.size(), "gradients",
            std::to_string(params.gradients.size()), "one for each layer");
}

}  // namespace digan_fast
