// What it costs to share out work that takes no time: two tasks, with the threads that RANVIER_THREADING
// names.
#include <benchmark/benchmark.h>

#include "ranvier/threads.h"

namespace {

using namespace ranvier;

void share_out_nothing(int threads) {
    parallel_for(2, threads, [](index_t task) { benchmark::DoNotOptimize(task); });
}

// A parallel_for by itself, which has to assemble the team.
void parallel_for_alone(benchmark::State& state) {
    const int threads = static_cast<int>(state.range(0));
    for (auto _ : state) share_out_nothing(threads);
    state.SetLabel(threading());
}

void parallel_for_in_a_region(benchmark::State& state) {
    const int threads = static_cast<int>(state.range(0));
    parallel_region(threads, [&] {
        for (auto _ : state) share_out_nothing(threads);
    });
    state.SetLabel(threading());
}

void region(benchmark::State& state) {
    const int threads = static_cast<int>(state.range(0));
    for (auto _ : state) parallel_region(threads, [] {});
    state.SetLabel(threading());
}

BENCHMARK(parallel_for_alone)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(parallel_for_in_a_region)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(region)->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
