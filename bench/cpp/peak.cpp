// The machine's peak by measurement.
#include "peak.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "ranvier/activation.h"
#include "ranvier/peak.h"
#include "ranvier/threads.h"

namespace peak {
namespace {

using Clock = std::chrono::steady_clock;
using ranvier::index_t;

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

void copy_by_vectors(index_t n, const float* from, float* to) {
    ranvier::activation<float>(ranvier::Activation::identity, n, from, to, 0.0f);
}

// Which goes past the caches where that is faster.
void copy_by_memcpy(index_t n, const float* from, float* to) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
}

// Each thread copies its own piece of the arrays, so often that sharing out the work takes no part of the
// time.
double measure_gigabytes(double bytes) {
    constexpr double kBytesPerRun = 8e6;
    const int threads = ranvier::num_threads();
    const auto piece = std::max<index_t>(static_cast<index_t>(bytes / 2 / sizeof(float)) / threads, 16);
    const double copied = 2.0 * sizeof(float) * static_cast<double>(piece * threads);
    const int repeats = 1 + static_cast<int>(kBytesPerRun / copied);
    std::vector<float> from(static_cast<std::size_t>(piece * threads), 1), to(from.size());
    double best = 1e9;
    for (const auto copy : {copy_by_vectors, copy_by_memcpy})
        best = std::min(best, best_time([&] {
                            ranvier::parallel_for(threads, threads, [&](index_t task) {
                                for (int i = 0; i < repeats; ++i) {
                                    copy(piece, from.data() + task * piece, to.data() + task * piece);
                                    benchmark::ClobberMemory();
                                }
                            });
                        }));
    return copied * repeats / best / 1e9;
}

double gflops(bool double_precision) {
    static const double single = ranvier::peak_flops<float>(), twice = ranvier::peak_flops<double>();
    return (double_precision ? twice : single) / 1e9;
}

double gigabytes(double bytes) {
    static std::map<double, double> known;
    const auto found = known.find(bytes);
    return found != known.end() ? found->second : known[bytes] = measure_gigabytes(bytes);
}

}  // namespace

double Meter::per_second(double amount) const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    return amount * static_cast<double>(state_.iterations()) / seconds;
}

void Meter::report_flops(double flops, bool double_precision) const {
    const double rate = per_second(flops) / 1e9;
    state_.counters["GFLOP/s"] = rate;
    state_.counters["of peak"] = rate / gflops(double_precision);
}

void Meter::report_bytes(double bytes) const {
    const double rate = per_second(bytes) / 1e9;
    state_.counters["GB/s"] = rate;
    state_.counters["of copy"] = rate / gigabytes(bytes);
}

}  // namespace peak
