#include "coord_mlp_fields.h"
#include "cuda/cuda.h"

namespace digan_fast {
namespace {

struct Network {
    CoordMlpParams params;
    Number low;
    void* workspace;
};

bool check(const Network& call) {
    const int low = static_cast<int>(call.low);
    require(low >= 0 && low < kCudaNumbers, "low", std::to_string(low), "0 to 2");
    return check_mlp_network(call.params);
}

void run(const Network& call, CudaStream stream) {
    const std::string reason = coord_mlp_cuda_why_not(call.params, call.low);
    if (!reason.empty()) throw py::value_error("coord_mlp: " + reason);
    coord_mlp_cuda(call.params, call.low, call.workspace, stream);
}

struct Gradients {
    CoordMlpBackwardParams params;
    Number low;
    std::int64_t chunk_bytes;
    void* workspace;
};

bool check_gradients(const Gradients& call) {
    require(call.chunk_bytes >= 0, "chunk_bytes", std::to_string(call.chunk_bytes), "0 or more");
    const bool computes = check({call.params.forward, call.low, nullptr});
    check_mlp_gradients(call.params);
    return computes;
}

void run_backward(const Gradients& call, CudaStream stream) {
    const std::string reason = coord_mlp_backward_cuda_why_not(call.params.forward, call.low);
    if (!reason.empty()) throw py::value_error("coord_mlp_backward: " + reason);
    coord_mlp_backward_cuda(call.params, call.low, call.chunk_bytes, call.workspace, stream);
}

template <class Call>
void fill_workspace(Call& call, py::handle value) {
    const auto address = from_python<std::uintptr_t>("workspace", value);
    require(address % 16 == 0, "workspace", std::to_string(address), "a multiple of 16");
    call.workspace = reinterpret_cast<void*>(address);
}

}  // namespace

void bind_cuda_coord_mlp(py::module_& m) {
    const Fields<Network> network = within(&Network::params, mlp_network_fields()) +
                                    Fields<Network>{field("low", &Network::low)};
    const auto for_network = [](auto function) {
        return [=](Network& call) { return function(call.params, call.low); };
    };
    define<Network, std::string>(m, "coord_mlp_cuda_why_not", network, check,
                                 for_network(coord_mlp_cuda_why_not));
    define<Network, std::int64_t>(m, "coord_mlp_cuda_workspace", network, check,
                                  for_network(coord_mlp_cuda_workspace));
    const Fields<CoordMlpParams> out{field("out", &CoordMlpParams::out)};
    define_on_stream<Network>(
        m, "coord_mlp_cuda",
        network + within(&Network::params, out) +
            Fields<Network>{{"workspace", "int", true, fill_workspace<Network>}},
        check, run);
    define<Network, std::string>(m, "coord_mlp_backward_cuda_why_not", network, check,
                                 for_network(coord_mlp_backward_cuda_why_not));
    using Backward = CoordMlpBackwardParams;
    const Fields<Gradients> gradients =
        within(&Gradients::params,
               within(&Backward::forward, mlp_network_fields()) + mlp_gradient_fields()) +
        Fields<Gradients>{field("low", &Gradients::low),
                          field("chunk_bytes", &Gradients::chunk_bytes)};
    define<Gradients, std::int64_t>(
        m, "coord_mlp_backward_cuda_workspace", gradients, check_gradients, [](Gradients& call) {
            return coord_mlp_backward_cuda_workspace(call.params, call.low, call.chunk_bytes);
        });
    define_on_stream<Gradients>(
        m, "coord_mlp_backward_cuda",
        gradients + Fields<Gradients>{{"workspace", "int", true, fill_workspace<Gradients>}},
        check_gradients, run_backward);
}

}  // namespace digan_fast
