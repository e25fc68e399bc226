#include "cuda/cuda.h"
#include "linear_act_fields.h"

namespace digan_fast {
namespace {

bool check_cuda_linear_act(const LinearActCudaParams& params) {
    require_linear_act(params);
    require_number(params.number, kCudaNumbers);
    require_cuda_terms("inputs", params.inputs);
    require_cuda_terms("outputs", params.outputs);
    return true;
}

}  // namespace

void bind_cuda_linear_act(py::module_& m) {
    using Forward = LinearActCudaParams;
    using Backward = LinearActCudaBackwardParams;
    const Fields<Forward> forward =
        linear_act_fields<Forward>() +
        Fields<Forward>{field("x", &Forward::x), field("shared_x", &Forward::shared_x),
                        field("number", &Forward::number), field("tf32", &Forward::tf32)};
    define_on_stream<Forward>(m, "linear_act_cuda", forward, check_cuda_linear_act,
                              linear_act_cuda);
    define<Forward, std::int64_t>(
        m, "linear_act_cuda_partials",
        linear_act_extents<Forward>() + Fields<Forward>{field("number", &Forward::number)},
        check_cuda_linear_act, linear_act_cuda_partials);
    define_on_stream<Backward>(
        m, "linear_act_backward_cuda",
        within(&Backward::forward, forward) +
            Fields<Backward>{field("grad", &Backward::grad),
                             field("dz", &Backward::dz, Null::left_out), field("dx", &Backward::dx),
                             field("dweight", &Backward::dweight), field("dbias", &Backward::dbias),
                             field("partials", &Backward::partials)},
        [](const Backward& params) { return check_cuda_linear_act(params.forward); },
        [](const Backward& params, CudaStream stream) {
            require_dz(params);
            linear_act_backward_cuda(params, stream);
        });
}

}  // namespace digan_fast
