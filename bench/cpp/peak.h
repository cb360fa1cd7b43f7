// What the machine can do at best, measured: the yardstick beside each benchmark's own figure.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>

namespace peak {

// Measures a benchmark's loop from the meter's construction on, and gives it counters: what it did in a
// second, and the fraction of what all threads that kernels may use reach together.
class Meter {
public:
    explicit Meter(benchmark::State& state) : state_(state), start_(std::chrono::steady_clock::now()) {}

    // "GFLOP/s" and "of peak", for an operation of so many floating-point operations: the peak is that of
    // fused multiply-adds on registers.
    void report_flops(double flops, bool double_precision = false) const;

    // "GB/s" and "of copy", for one that must read and write so many bytes: the copy is of arrays of as many
    // bytes in all, time after time.
    void report_bytes(double bytes) const;

private:
    double per_second(double amount) const;

    benchmark::State& state_;
    std::chrono::steady_clock::time_point start_;
};

}  // namespace peak
