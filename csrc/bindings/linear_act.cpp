#include "linear_act_fields.h"

namespace digan_fast {
namespace {

bool check_linear_act(const LinearActParams& params) {
    require_linear_act(params);
    require_number(params.number, kCpuNumbers);
    require_number(params.x_number, kCpuNumbers, "x_number");
    require(linear_act_takes(params), "x_number", std::to_string(static_cast<int>(params.x_number)),
            "number, or bfloat16 for a few float32 outputs");
    require_threads(params.threads);
    return true;
}

}  // namespace

void bind_linear_act(py::module_& m) {
    using Forward = LinearActParams;
    using Backward = LinearActBackwardParams;
    const Fields<Forward> forward =
        linear_act_fields<Forward>() +
        Fields<Forward>{field("x", &Forward::x, Null::refused, &Forward::x_number),
                        field("number", &Forward::number), field("x_number", &Forward::x_number),
                        field("threads", &Forward::threads)};
    define<Forward, void>(m, "linear_act_cpu", forward, check_linear_act, linear_act_cpu);
    define<Backward, void>(
        m, "linear_act_backward_cpu",
        within(&Backward::forward, forward) + Fields<Backward>{field("grad", &Backward::grad),
                                                               field("dx", &Backward::dx),
                                                               field("dweight", &Backward::dweight),
                                                               field("dbias", &Backward::dbias)},
        [](const Backward& params) { return check_linear_act(params.forward); },
        linear_act_backward_cpu);
}

}  // namespace digan_fast
