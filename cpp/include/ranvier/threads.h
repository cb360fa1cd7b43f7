// How many threads the kernels use, and the one way in which they share out work.
#pragma once

#include <memory>
#include <string>
#include <type_traits>

#include "ranvier/array.h"

namespace ranvier {

// Threads that a kernel called from this thread may use. What set_num_threads gave, else
// OMP_NUM_THREADS, else the least of OpenMP's maximum, the affinity mask, the cgroup's CPU quota
// and the physical cores. Always 1 in a child of fork(), inside a task and inside a parallel region of the
// caller's own; in a scope of parallel_region, its threads.
int num_threads();

// Sets the count for the whole process; 0 returns to the default. Throws std::invalid_argument
// if it is negative.
void set_num_threads(int count);

// True if the build has OpenMP; without it OMP_NUM_THREADS alone is heeded.
bool has_openmp();

// Whose threads run tasks: "openmp" or, of our own, "pool". The environment variable RANVIER_THREADING says;
// the default is OpenMP's if the build has it. Throws std::invalid_argument, as does all that needs threads,
// if it says what is not there.
std::string threading();

namespace detail {
using RegionFunction = void (*)(void* body);
void run_region(int threads, RegionFunction function, void* body);
using TaskFunction = void (*)(void* body, index_t task);
void run_tasks(index_t tasks, int threads, TaskFunction function, void* body);
// False for some time after a caller had to wait long for a worker.
bool workers_are_prompt();
}  // namespace detail

// Calls body() on the calling thread, with a team of up to `threads` threads at hand for all parallel_for
// calls inside: one parallel region for an epoch or a prediction instead of one for each kernel. What body
// throws is thrown again. In the scope num_threads() is `threads` without asking the system; in a nested one
// it is the least of both. A call inside a task, and in a child of fork(), does no more than run body().
template <class Body>
void parallel_region(int threads, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    detail::run_region(
        threads, [](void* opaque) { (*static_cast<Plain*>(opaque))(); },
        const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

// Calls body(task) once for each task in [0, tasks), in any order, on up to `threads` threads.
// What a task computes must not depend on the thread it runs on nor on how many there are: that
// is what makes results the same bits at any thread count. What a body throws, the first if there are
// several, is thrown again once no task runs; whether the other tasks have run is then open.
template <class Body>
void parallel_for(index_t tasks, int threads, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    detail::run_tasks(
        tasks, threads, [](void* opaque, index_t task) { (*static_cast<Plain*>(opaque))(task); },
        const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

// How many threads `work` can feed. Its unit is one element of a vectorised loop, about a tenth of a
// nanosecond. A fork costs a microsecond, so little work stays on the calling thread; and while other
// programs want the processors, in which case a worker may be halted in the middle of its task, so does twice
// as much.
inline constexpr double kWorkPerThread = 18e3;
inline constexpr double kWorkPerSlowThread = 40e3;

// Work in several jobs, one after the other, for which a region pays that keeps a team: besides its beginning
// and its end, each job reads what another processor has just written.
inline constexpr double kWorkPerRegion = 7 * kWorkPerThread;

inline int threads_for(double work) {
    if (work < 2 * kWorkPerThread) return 1;
    if (work < 2 * kWorkPerSlowThread && !detail::workers_are_prompt()) return 1;
    const int available = num_threads();
    const double useful = work / kWorkPerThread;
    return useful < available ? static_cast<int>(useful) : available;
}

}  // namespace ranvier
