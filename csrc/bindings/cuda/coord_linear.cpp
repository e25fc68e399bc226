#include "coord_linear_fields.h"
#include "cuda/cuda.h"

namespace digan_fast {
namespace {

bool check_cuda_coord_linear(const CoordLinearCudaParams& params) {
    require_coord_linear(params);
    require_number(params.number, kCudaNumbers);
    require_cuda_terms("sinusoids", params.sinusoids);
    require_cuda_terms("outputs", params.outputs);
    return true;
}

// Adds the extents of the base: the rectangle's parents on the half-resolution grid.
CoordLinearCudaParams with_base(CoordLinearCudaParams params) {
    params.base_height = (params.height + (params.top & 1) + 1) / 2;
    params.base_width = (params.width + (params.left & 1) + 1) / 2;
    return params;
}

}  // namespace

void bind_cuda_coord_linear(py::module_& m) {
    using Forward = CoordLinearCudaParams;
    using Backward = CoordLinearCudaBackwardParams;
    const Fields<Forward> forward =
        coord_linear_fields<Forward>() +
        Fields<Forward>{field("number", &Forward::number), field("tf32", &Forward::tf32)};
    define_on_stream<Forward>(m, "coord_linear_cuda", forward, check_cuda_coord_linear,
                              [](const Forward& params, CudaStream stream) {
                                  coord_linear_cuda(with_base(params), stream);
                              });
    define<Forward, std::int64_t>(
        m, "coord_linear_cuda_partials",
        coord_linear_extents<Forward>() + Fields<Forward>{field("number", &Forward::number)},
        check_cuda_coord_linear,
        [](const Forward& params) { return coord_linear_cuda_partials(with_base(params)); });
    define_on_stream<Backward>(
        m, "coord_linear_backward_cuda",
        within(&Backward::forward, forward) +
            Fields<Backward>{
                field("grad", &Backward::grad), field("dz", &Backward::dz, Null::left_out),
                field("dbase", &Backward::dbase, Null::left_out),
                field("dweight", &Backward::dweight), field("dtheta", &Backward::dtheta),
                field("dvideo", &Backward::dvideo), field("dbias", &Backward::dbias),
                field("partials", &Backward::partials)},
        [](const Backward& params) { return check_cuda_coord_linear(params.forward); },
        [](const Backward& given, CudaStream stream) {
            Backward params = given;
            params.forward = with_base(given.forward);
            require_dz(params);
            require(params.dbase || !params.forward.base, "dbase", "null", "the address of data");
            coord_linear_backward_cuda(params, stream);
        });
}

}  // namespace digan_fast
