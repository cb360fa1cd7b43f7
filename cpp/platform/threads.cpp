// Threads by OpenMP: the only file that knows it.
#include "ranvier/threads.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "cpu_features.h"
#include "denormals.h"

namespace ranvier {
namespace {

std::atomic<int> requested{0};
// The threads of an OpenMP team do not survive fork(), and libgomp waits for them forever.
std::atomic<bool> forked{false};

struct Defaults {
    int openmp_limit = 1;
    int machine_limit = 1;
    bool limit_is_users = false;  // OMP_NUM_THREADS is set

    Defaults() {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif
#ifdef _OPENMP
        openmp_limit = omp_get_max_threads();
#endif
        limit_is_users = std::getenv("OMP_NUM_THREADS") != nullptr;
        machine_limit = physical_cores();
        if (const int quota = cgroup_quota()) machine_limit = std::min(machine_limit, quota);
    }
};

const Defaults& defaults() {
    static const Defaults values;
    return values;
}

}  // namespace

bool has_openmp() {
#ifdef _OPENMP
    return true;
#else
    return false;
#endif
}

int num_threads() {
#ifdef _OPENMP
    const Defaults& start = defaults();
    if (forked || omp_in_parallel()) return 1;
    const int openmp_limit = omp_get_max_threads();  // of this thread: libgomp keeps one for each
    const int request = requested;
    if (request > 0) return openmp_limit < start.openmp_limit ? std::min(request, openmp_limit) : request;
    if (start.limit_is_users) return openmp_limit;
    return std::max(1, std::min({openmp_limit, start.machine_limit, affinity_count()}));
#else
    return 1;
#endif
}

void set_num_threads(int count) {
    if (count < 0)
        throw std::invalid_argument("count: expected 0 or more threads, got " + std::to_string(count));
    requested = count;
}

void detail::run_tasks(index_t tasks, int threads, TaskFunction function, void* body) {
    threads = static_cast<int>(std::min<index_t>(threads, tasks));
#ifdef _OPENMP
    if (threads > 1 && !forked && !omp_in_parallel()) {
        const DenormalMode mode = denormal_mode();
#pragma omp parallel num_threads(threads)
        {
            const DenormalMode own = denormal_mode();
            set_denormal_mode(mode);
#pragma omp for schedule(dynamic, 1)
            for (index_t task = 0; task < tasks; ++task) function(body, task);
            set_denormal_mode(own);
        }
        return;
    }
#endif
    for (index_t task = 0; task < tasks; ++task) function(body, task);
}

}  // namespace ranvier
