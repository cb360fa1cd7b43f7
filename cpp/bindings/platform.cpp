// Processor, instruction sets and threads.
#include <pybind11/stl.h>

#include "bindings.h"
#include "ranvier/cpu.h"
#include "ranvier/threads.h"

namespace py = pybind11;

namespace ranvier {

void bind_platform(py::module_& m) {
    m.def("cpu_info", [] {
        const CpuInfo info = cpu_info();
        py::dict d;
        d["model"] = info.model;
        d["features"] = info.features;
        d["physical_cores"] = info.physical_cores;
        d["logical_cores"] = info.logical_cores;
        d["compiled_isas"] = info.compiled_isas;
        d["supported_isas"] = info.supported_isas;
        d["isa"] = active_isa();
        d["num_threads"] = num_threads();
        d["openmp"] = has_openmp();
        return d;
    });
    m.def("num_threads", &num_threads);
    m.def("set_num_threads", &set_num_threads, py::arg("count"));

    py::module_ testing = m.def_submodule("_testing", "Switches that only tests and benchmarks need.");
    testing.def("set_active_isa", &set_active_isa, py::arg("name"));
}

}  // namespace ranvier
