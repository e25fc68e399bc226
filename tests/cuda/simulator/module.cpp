// The CUDA bindings of digan_fast._C on the simulator, and its settings.

#include "../../../csrc/bindings/cuda/cuda.h"
#include "simulator.h"

PYBIND11_MODULE(simulated, m) {
    namespace py = pybind11;
    using namespace py::literals;
    digan_fast::bind_cuda(m);
    m.def(
        "set",
        [](bool record, int copies, unsigned seed, int shared_memory_limit) {
            simulator::settings() = {record, static_cast<simulator::Copies>(copies), seed,
                                     shared_memory_limit};
        },
        "record"_a = false, "copies"_a = 1, "seed"_a = 0, "shared_memory_limit"_a = 99 * 1024);
    m.def("take_launches", [] {
        py::list taken;
        for (const simulator::Launch& launch : simulator::launches())
            taken.append(py::make_tuple(launch.kernel, launch.blocks, launch.threads,
                                        launch.shared_bytes, py::bytes(launch.params)));
        simulator::launches().clear();
        return taken;
    });
}
