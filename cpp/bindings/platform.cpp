// Processor, instruction sets and threads.
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bindings.h"
#include "ranvier/cpu.h"
#include "ranvier/peak.h"
#include "ranvier/threads.h"
#include "views.h"

namespace py = pybind11;

namespace ranvier {

void bind_platform(py::module_& m) {
    m.def(
        "cpu_info",
        [] {
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
            d["threading"] = threading();
            return d;
        },
        R"(What the processor offers and what is used of it.

Returns
-------
dict
    model, features, physical_cores, logical_cores; compiled_isas and supported_isas, plainest first, and isa, the
    one in use; num_threads; openmp, whether the build has it; threading, whose threads run the kernels: "openmp" or,
    of Ranvier's own, "pool".

Raises
------
ValueError
    If the environment variable RANVIER_ISA names an instruction set that is unknown or that the processor lacks, or
    RANVIER_THREADING threads that are unknown or that the build lacks.
)");
    m.def("num_threads", &num_threads, R"(How many threads a kernel called from this thread may use.

The number that `set_num_threads` gave; else OMP_NUM_THREADS; else the least of OpenMP's maximum, the processors in
the affinity mask, the cgroup's quota and the physical cores. 1 in a child of ``fork``.
)");
    m.def(
        "set_num_threads",
        [](const py::handle& threads) { set_num_threads(static_cast<int>(integer_of(threads, "count"))); },
        py::arg("count"),
        R"(Set the number of threads for the whole process.

Parameters
----------
count : int
    0 returns to the default.

Raises
------
ValueError
    If it is negative, or more than any machine has.
)");

    m.def(
        "peak_flops",
        [](const std::string& dtype) {
            const ReleasedGil release;
            return dtype == "float64" ? peak_flops<double>() : peak_flops<float>();
        },
        py::arg("dtype"),
        "Multiplications and additions a second that the processor reaches on registers, measured.");

    py::module_ testing = m.def_submodule("_testing", "Switches that only tests and benchmarks need.");
    testing.def("set_active_isa", &set_active_isa, py::arg("name"));
}

}  // namespace ranvier
