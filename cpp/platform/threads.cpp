// How many threads a call may use, by the process's limits and OpenMP's, and the way to them.
//
// The only file that knows OpenMP: its settings say how many threads there may be, so that OMP_NUM_THREADS
// and libraries that limit threads reach us too. The threads themselves are those of thread_pool.h.
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
#include "thread_pool.h"

namespace ranvier {
namespace {

std::atomic<int> requested{0};
// Threads do not survive fork(): a child has none of its parent's workers.
std::atomic<bool> forked{false};
// This thread is running a task.
thread_local bool in_task = false;
struct InTask {
    InTask() { in_task = true; }
    ~InTask() { in_task = false; }
};

#ifdef _OPENMP
int openmp_threads() { return omp_get_max_threads(); }
bool in_openmp_region() { return omp_in_parallel(); }
#else
int openmp_threads() {
    const char* text = std::getenv("OMP_NUM_THREADS");
    const int count = text ? std::atoi(text) : 0;
    return count > 0 ? count : physical_cores();
}
bool in_openmp_region() { return false; }
#endif

struct Defaults {
    int openmp_limit = openmp_threads();
    int machine_limit = physical_cores();
    bool limit_is_users = std::getenv("OMP_NUM_THREADS") != nullptr;

    Defaults() {
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif
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
    const Defaults& start = defaults();
    if (forked || in_task || in_openmp_region()) return 1;
    const int openmp_limit = openmp_threads();  // of this thread: libgomp keeps one for each
    const int request = requested;
    if (request > 0) return openmp_limit < start.openmp_limit ? std::min(request, openmp_limit) : request;
    if (start.limit_is_users) return openmp_limit;
    return std::max(1, std::min({openmp_limit, start.machine_limit, affinity_count()}));
}

void set_num_threads(int count) {
    if (count < 0)
        throw std::invalid_argument("count: expected 0 or more threads, got " + std::to_string(count));
    requested = count;
}

bool detail::workers_are_prompt() { return workers_were_prompt(); }

void detail::run_tasks(index_t tasks, int threads, TaskFunction function, void* body) {
    threads = static_cast<int>(std::min<index_t>(threads, tasks));
    if (threads <= 1 || forked || in_task) {
        for (index_t task = 0; task < tasks; ++task) function(body, task);
        return;
    }
    struct Marked {
        TaskFunction function;
        void* body;
    } marked = {function, body};
    run_with_workers(
        tasks, threads - 1,
        [](void* opaque, index_t task) {
            const auto& [inner, inner_body] = *static_cast<Marked*>(opaque);
            const InTask mark;
            inner(inner_body, task);
        },
        &marked);
}

}  // namespace ranvier
