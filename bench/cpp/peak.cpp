// The machine's peak by measurement.
#include "peak.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <vector>

#include "ranvier/peak.h"
#include "ranvier/threads.h"

namespace peak {
namespace {

using Clock = std::chrono::steady_clock;

// The best of some runs of body, in seconds.
template <class Body>
double best_time(Body&& body) {
    double best = 1e9;
    for (int run = 0; run < 20; ++run) {
        const auto start = Clock::now();
        body();
        best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
    }
    return best;
}

double measure_gigabytes(std::size_t bytes) {
    const std::size_t half = std::max<std::size_t>(bytes / 2, 64);
    std::vector<char> from(half, 1), to(half);
    const int threads = ranvier::threads_for(static_cast<double>(half) / 4);
    const std::size_t piece = half / static_cast<std::size_t>(threads);
    const std::size_t repeats = 1 + (std::size_t{1} << 20) / half;
    const double time = best_time([&] {
        for (std::size_t i = 0; i < repeats; ++i) {
            ranvier::parallel_for(threads, threads, [&](ranvier::index_t task) {
                const std::size_t first = static_cast<std::size_t>(task) * piece;
                std::memcpy(to.data() + first, from.data() + first, piece);
            });
            benchmark::ClobberMemory();
        }
    });
    return 2.0 * static_cast<double>(half * repeats) / time / 1e9;
}

void report(benchmark::State& state, const char* rate, const char* fraction, double amount, double best) {
    const double total = amount * 1e-9 * static_cast<double>(state.iterations());
    state.counters[rate] = benchmark::Counter(total, benchmark::Counter::kIsRate);
    state.counters[fraction] = benchmark::Counter(total / best, benchmark::Counter::kIsRate);
}

}  // namespace

double gflops(bool double_precision) {
    static const double single = ranvier::peak_flops<float>(), twice = ranvier::peak_flops<double>();
    return (double_precision ? twice : single) / 1e9;
}

double gigabytes(std::size_t bytes) {
    static std::map<std::size_t, double> known;
    const auto found = known.find(bytes);
    return found != known.end() ? found->second : known[bytes] = measure_gigabytes(bytes);
}

void report_flops(benchmark::State& state, double flops, bool double_precision) {
    report(state, "GFLOP/s", "of peak", flops, gflops(double_precision));
}

void report_bytes(benchmark::State& state, double bytes) {
    report(state, "GB/s", "of copy", bytes, gigabytes(static_cast<std::size_t>(bytes)));
}

}  // namespace peak
