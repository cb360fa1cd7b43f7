// The processor's peak: the best of some runs of multiply-adds on every thread.
#include "ranvier/peak.h"

#include <algorithm>
#include <chrono>

#include "kernel_table.h"
#include "ranvier/threads.h"

namespace ranvier {

template <class T>
double peak_flops() {
    using Clock = std::chrono::steady_clock;
    constexpr index_t kSteps = 20000;
    constexpr int kRuns = 10, kTasksPerThread = 8;  // a thread that comes late loses little
    const int threads = num_threads();
    const auto run = kernels<T>().gemm->multiply_adds;
    double best = 0;
    for (int i = 0; i < kRuns; ++i) {
        double flops = 0;
        const auto start = Clock::now();
        parallel_for(threads * kTasksPerThread, threads, [&](index_t task) {
            const double done = run(kSteps);
            if (task == 0) flops = done * threads * kTasksPerThread;
        });
        best = std::max(best, flops / std::chrono::duration<double>(Clock::now() - start).count());
    }
    return best;
}

template double peak_flops<float>();
template double peak_flops<double>();

}  // namespace ranvier
