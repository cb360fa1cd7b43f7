// What the machine can do at best, measured: the yardstick beside each benchmark's own figure.
#pragma once

#include <benchmark/benchmark.h>

namespace peak {

// Fused multiply-adds on registers, over all threads that kernels use, in GFLOP/s: of float32, or of float64.
double gflops(bool double_precision = false);

// A copy of arrays of that many bytes in all, over the same threads, in GB/s read and written.
double gigabytes(std::size_t bytes);

// Counters "GFLOP/s" and "of peak" for an operation of so many floating-point operations.
void report_flops(benchmark::State& state, double flops, bool double_precision = false);

// Counters "GB/s" and "of copy" for one that must read and write so many bytes.
void report_bytes(benchmark::State& state, double bytes);

}  // namespace peak
