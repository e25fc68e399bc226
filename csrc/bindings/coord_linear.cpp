#include "coord_linear_fields.h"

namespace digan_fast {
namespace {

bool check_coord_linear(const CoordLinearParams& params) {
    require_coord_linear(params);
    require_number(params.number, kCpuNumbers);
    require_threads(params.threads);
    return true;
}

}  // namespace

void bind_coord_linear(py::module_& m) {
    using Forward = CoordLinearParams;
    using Backward = CoordLinearBackwardParams;
    const Fields<Forward> forward =
        coord_linear_fields<Forward>() +
        Fields<Forward>{field("number", &Forward::number), field("threads", &Forward::threads)};
    define<Forward, void>(m, "coord_linear_cpu", forward, check_coord_linear, coord_linear_cpu);
    define<Backward, void>(
        m, "coord_linear_backward_cpu",
        within(&Backward::forward, forward) +
            Fields<Backward>{
                field("grad", &Backward::grad), field("dbase", &Backward::dbase, Null::left_out),
                field("dfrequency", &Backward::dfrequency), field("dphase", &Backward::dphase),
                field("dweight", &Backward::dweight), field("dbias", &Backward::dbias)},
        [](const Backward& params) { return check_coord_linear(params.forward); },
        coord_linear_backward_cpu);
}

}  // namespace digan_fast
