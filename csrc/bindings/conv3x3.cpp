#include "digan_fast/conv3x3.h"

#include "fields.h"

namespace digan_fast {
namespace {

Fields<Conv3x3Params> conv3x3_fields() {
    using Params = Conv3x3Params;
    using Shape = Conv3x3Shape;
    const Fields<Shape> shape{field("images", &Shape::images),   field("inputs", &Shape::inputs),
                              field("outputs", &Shape::outputs), field("height", &Shape::height),
                              field("width", &Shape::width),     field("stride", &Shape::stride),
                              field("padding", &Shape::padding), field("gain", &Shape::gain)};
    return within(&Params::shape, shape) +
           Fields<Params>{field("number", &Params::number), field("threads", &Params::threads)};
}

// False if there are no products; the results are then zeros.
bool check_conv3x3(const Conv3x3Params& params) {
    const Conv3x3Shape& s = params.shape;
    require_threads(params.threads);
    require_number(params.number, 2);
    require_extents({{"images", s.images},
                     {"inputs", s.inputs},
                     {"outputs", s.outputs},
                     {"height", s.height},
                     {"width", s.width}});
    require(s.stride == 1 || s.stride == 2, "stride", std::to_string(s.stride), "1 or 2");
    require(s.padding >= 0 && s.padding <= 2, "padding", std::to_string(s.padding), "0 to 2");
    require_rectangle("height", 0, 0, s.height + 1, s.width + 1);
    // Products are computed at 81 places for 16 outputs.
    require_tensor("inputs", {9, s.images, s.height + 16, s.width + 16, s.inputs});
    require_tensor("outputs", {9, s.images, s.height + 16, s.width + 16, s.outputs});
    require_tensor("outputs", {81, s.outputs, s.inputs});
    const std::int64_t padded_height = s.height + 2 * s.padding;
    const std::int64_t padded_width = s.width + 2 * s.padding;
    return s.images * s.inputs * s.outputs > 0 && padded_height >= 3 && padded_width >= 3;
}

}  // namespace

void bind_conv3x3(py::module_& m) {
    using Params = Conv3x3Params;
    const auto out = field("out", &Params::result), dx = field("dx", &Params::result),
               dweight = field("dweight", &Params::dweight), x = field("x", &Params::x),
               weight = field("weight", &Params::weight), grad = field("grad", &Params::grad);
    define<Params, void>(m, "conv3x3_cpu", Fields<Params>{out, x, weight} + conv3x3_fields(),
                         check_conv3x3, conv3x3_cpu);
    define<Params, void>(m, "conv3x3_input_gradient_cpu",
                         Fields<Params>{dx, grad, weight} + conv3x3_fields(), check_conv3x3,
                         conv3x3_input_gradient_cpu);
    define<Params, void>(m, "conv3x3_weight_gradient_cpu",
                         Fields<Params>{dweight, grad, x} + conv3x3_fields(), check_conv3x3,
                         conv3x3_weight_gradient_cpu);
}

}  // namespace digan_fast
