// How many threads a call may use, by the process's limits and OpenMP's, and the way to them: one team, of
// OpenMP's threads or of our own, which one caller has at a time.
#include "ranvier/threads.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpu_features.h"
#include "fork.h"
#include "openmp_team.h"
#include "thread_pool.h"

namespace ranvier {
namespace {

std::atomic<int> requested{0};
std::mutex one_caller;

struct Here {
    bool in_task = false;   // this thread is running a task
    bool has_team = false;  // it has assembled the team for a scope
    int scope = 0;          // the threads of the scope that it is in, 0 if in none
    int usual = 1;          // what num_threads() last said outside scopes
};
thread_local Here here;

// Sets a variable until the end of the scope.
template <class T>
class Temporarily {
public:
    Temporarily(T& variable, T value) : variable_(variable), before_(std::exchange(variable, value)) {}
    ~Temporarily() { variable_ = before_; }
    Temporarily(const Temporarily&) = delete;
    Temporarily& operator=(const Temporarily&) = delete;

private:
    T& variable_;
    T before_;
};

Team* choose_team() {
    const char* text = std::getenv("RANVIER_THREADING");
    const std::string_view name = text ? text : "";
    if (name == "pool") return &thread_pool();
    if (name == "openmp" && !openmp_team())
        throw std::invalid_argument(
            "RANVIER_THREADING: expected pool in a build without OpenMP, got 'openmp'");
    if (name == "openmp" || name.empty()) return openmp_team() ? openmp_team() : &thread_pool();
    throw std::invalid_argument("RANVIER_THREADING: expected openmp or pool, got '" + std::string(name) +
                                "'");
}

// What the environment and the machine say once.
struct Defaults {
    Team& team = *choose_team();
    bool limit_is_users = std::getenv("OMP_NUM_THREADS") != nullptr;
    int openmp_limit = openmp_threads();
    int machine_limit;
    int bound_processors = 0;  // that OpenMP has bound its threads to

    Defaults() {
        // A thread that OpenMP has bound to a place of its own may use the other places through OpenMP.
        const std::vector<int> bound = &team == openmp_team() ? openmp_processors() : std::vector<int>();
        bound_processors = static_cast<int>(bound.size());
        machine_limit = bound.empty() ? physical_cores() : physical_cores(bound);
        if (const int quota = cgroup_quota()) machine_limit = std::min(machine_limit, quota);
    }
};

const Defaults& defaults() {
    static const Defaults values;
    return values;
}

int usual_threads() {
    const Defaults& start = defaults();
    const int openmp_limit = openmp_threads();  // of this thread: libgomp keeps one for each
    const int request = requested;
    if (request > 0)
        return openmp_limit > 0 && openmp_limit < start.openmp_limit ? std::min(request, openmp_limit)
                                                                     : request;
    if (start.limit_is_users && openmp_limit > 0) return openmp_limit;
    const int processors = start.bound_processors > 0 ? start.bound_processors : affinity_count();
    const int machine_limit = std::max(1, std::min(start.machine_limit, processors));
    return openmp_limit > 0 ? std::min(openmp_limit, machine_limit) : machine_limit;
}

bool is_alone() { return here.in_task || is_forked_child() || (!here.has_team && in_openmp_region()); }

// The team with its other threads, for one job or for all in a scope.
template <class Body>
void with_team(int threads, Body body) {
    defaults().team.assemble(
        threads, here.usual, [](void* opaque) { (*static_cast<Body*>(opaque))(); }, &body);
}

struct Job {
    detail::TaskFunction function;
    void* body;

    static void run(void* opaque, index_t task) {
        const Job& job = *static_cast<const Job*>(opaque);
        const Temporarily mark(here.in_task, true);
        job.function(job.body, task);
    }
};

}  // namespace

bool has_openmp() { return openmp_team() != nullptr; }

std::string threading() { return &defaults().team == openmp_team() ? "openmp" : "pool"; }

int num_threads() {
    if (here.in_task || is_forked_child()) return 1;
    if (here.scope > 0) return here.scope;
    if (in_openmp_region()) return 1;
    return here.usual = usual_threads();
}

void set_num_threads(int count) {
    if (count < 0)
        throw std::invalid_argument("count: expected 0 or more threads, got " + std::to_string(count));
    requested = count;
}

bool detail::workers_are_prompt() { return defaults().team.was_prompt(); }

void detail::run_region(int threads, RegionFunction function, void* body) {
    if (is_alone()) return function(body);
    threads = std::max(threads, 1);
    const bool nested = here.scope > 0;
    const Temporarily scope(here.scope, nested ? std::min(here.scope, threads) : threads);
    if (nested) return function(body);
    Team& team = defaults().team;
    if (threads == 1 || !team.is_worth_keeping()) return function(body);
    const std::unique_lock<std::mutex> owner(one_caller, std::try_to_lock);
    if (!owner) return function(body);
    with_team(threads, [&] {
        const Temporarily mark(here.has_team, true);
        function(body);
    });
}

void detail::run_tasks(index_t tasks, int threads, TaskFunction function, void* body) {
    threads = static_cast<int>(std::min<index_t>({threads, tasks, Team::kMostThreads}));
    if (threads > 1 && !is_alone()) {
        Job job = {function, body};
        const auto run = [&] { defaults().team.run(tasks, threads, Job::run, &job); };
        if (here.has_team) return run();
        const std::unique_lock<std::mutex> owner(one_caller, std::try_to_lock);
        if (owner) return with_team(threads, run);
    }
    for (index_t task = 0; task < tasks; ++task) function(body, task);
}

}  // namespace ranvier
