// What the processor offers, and which of the compiled instruction sets the kernels use.
#pragma once

#include <string>
#include <vector>

namespace ranvier {

struct CpuInfo {
    std::string model;                  // marketing name, empty where the system does not tell
    std::vector<std::string> features;  // found by cpuid and enabled by the operating system
    int physical_cores = 1;
    int logical_cores = 1;
    std::vector<std::string> compiled_isas;   // in this build, plainest first
    std::vector<std::string> supported_isas;  // those of them that this processor runs
};

CpuInfo cpu_info();

// The instruction set in use: the one that RANVIER_ISA names, else the best supported one.
// Chosen at the first call; throws std::invalid_argument if RANVIER_ISA names one that is
// unknown or that this processor lacks.
std::string active_isa();

// Makes all later calls use another instruction set. Meant for tests and benchmarks; do not call
// it while a kernel runs. Throws std::invalid_argument as active_isa does.
void set_active_isa(const std::string& name);

}  // namespace ranvier
