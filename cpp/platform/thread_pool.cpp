// The worker threads: started when first needed, asleep when there is nothing to do, never joined.
//
// An OpenMP team would do, but its barriers wait for every member, asleep or not, and to wake a thread takes
// microseconds to milliseconds. Here a worker that comes late finds the work done.
//
// Tasks are dealt out in runs, the same ones to the same threads at every call, so that what a thread wrote
// last time is still in its caches; who has finished takes from the others' runs.
#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "denormals.h"

namespace ranvier {
namespace {

// How long a worker looks out for the next job before it sleeps: longer than the pauses between the kernels
// of a training step.
constexpr std::chrono::microseconds kAlert{1000};
constexpr int kLooks = 64;  // between two looks at the clock
// After so long a worker offers its processor to others, while it holds no task: were it taken in the middle
// of one, all would wait for some milliseconds until it is back.
constexpr std::chrono::microseconds kTurn{1000};
constexpr int kMostThreads = 256;
// A wait for a worker that is no part of the work: somebody else has its processor.
constexpr std::chrono::microseconds kLongWait{50};
// Small jobs then do without workers for so many times that wait, which is thus a small part of all; but not
// for much longer than other libraries' idle threads spin.
constexpr int kDistrust = 32;
constexpr std::chrono::milliseconds kMostDistrust{100};

inline void pause() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Pool {
public:
    void run(index_t tasks, int helpers, detail::TaskFunction function, void* body) {
        const std::unique_lock<std::mutex> owner(one_caller_, std::try_to_lock);
        if (!owner) {
            for (index_t task = 0; task < tasks; ++task) function(body, task);
            return;
        }
        helpers = std::min(helpers, kMostThreads - 1);
        start_workers(helpers);
        function_ = function;
        body_ = body;
        helpers_ = helpers;
        mode_ = denormal_mode();
        for (index_t thread = 0; thread <= helpers; ++thread) {
            shares_[thread].next.store(thread * tasks / (helpers + 1), std::memory_order_relaxed);
            shares_[thread].end = (thread + 1) * tasks / (helpers + 1);
        }
        const std::uint32_t job = job_.load(std::memory_order_relaxed) + 1;  // odd: open
        job_.store(job);
        if (asleep_.load() > 0) wake_workers();
        take_tasks(0, [] { return false; });
        job_.store(job + 1);
        wait_for_workers();
        if (const std::exception_ptr error = std::exchange(error_, nullptr)) {
            failed_.store(false);
            std::rethrow_exception(error);
        }
    }

    bool were_prompt() const {
        return Clock::now().time_since_epoch().count() >= distrusted_until_.load(std::memory_order_relaxed);
    }

private:
    using Clock = std::chrono::steady_clock;

    struct Worker {
        std::atomic<bool> asleep{false};
        Clock::time_point turn_began;
#if defined(__linux__)
        std::atomic<pid_t> id{0};
        cpu_set_t affinity;  // that it began with
#endif
    };

    void start_workers(int wanted) {
        for (; started_ < wanted; ++started_) {
            try {
                std::thread([this, thread = started_ + 1] { work(thread); }).detach();
            } catch (const std::system_error&) {
                return;  // the machine gives no more threads: fewer will do
            }
        }
    }

    void wake_workers() {
#if defined(__linux__)
        spread_workers();
#endif
        job_.notify_all();
    }

#if defined(__linux__)
    // Systems like to put a woken thread on its waker's processor, which has better to do, and to leave it
    // there for milliseconds. So each sleeper may wake up on another processor only, one for each; awake, it
    // is free again.
    void spread_workers() {
        cpu_set_t allowed, one;
        const int here = sched_getcpu();
        if (here < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
        if (CPU_ISSET(here, &allowed)) CPU_CLR(here, &allowed);
        int cpu = -1;
        for (int thread = 1; thread <= helpers_ && CPU_COUNT(&allowed) > 0; ++thread) {
            do cpu = (cpu + 1) % CPU_SETSIZE;
            while (!CPU_ISSET(cpu, &allowed));
            const pid_t id = workers_[thread].id.load();
            if (id == 0 || !workers_[thread].asleep.load()) continue;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(id, sizeof one, &one);
        }
    }
#endif

    // First one's own, then the others', until there are none or leave() says so; returns whether none are
    // left.
    template <class Leave>
    bool take_tasks(int thread, Leave&& leave) {
        for (int k = 0; k <= helpers_; ++k) {
            Share& share = shares_[(thread + k) % (helpers_ + 1)];
            while (true) {
                if (leave()) return false;
                const index_t task = share.next.fetch_add(1, std::memory_order_relaxed);
                if (task >= share.end) break;
                run_task(task);
            }
        }
        return true;
    }

    // Keeps the first exception for the caller.
    void run_task(index_t task) {
        try {
            function_(body_, task);
        } catch (...) {
            if (!failed_.exchange(true)) error_ = std::current_exception();
        }
    }

    // A worker that shares the caller's processor must be let in to finish.
    void wait_for_workers() {
        for (int look = 0; inside_.load() > 0 && look < kLooks; ++look) pause();
        if (inside_.load() == 0) return;
        const auto start = Clock::now();
        while (inside_.load() > 0) std::this_thread::yield();
        const auto end = Clock::now();
        if (end - start <= kLongWait) return;
        const auto distrust = std::min<Clock::duration>(kDistrust * (end - start), kMostDistrust);
        distrusted_until_.store((end + distrust).time_since_epoch().count());
    }

    void work(int thread) {
        Worker& self = workers_[thread];
#if defined(__linux__)
        sched_getaffinity(0, sizeof self.affinity, &self.affinity);
        self.id.store(static_cast<pid_t>(syscall(SYS_gettid)));
#endif
        for (std::uint32_t seen = 0;;) {
            seen = next_job(seen, self);
            // The caller closes a job and then looks who is inside; a worker enters and then looks whether
            // the job is still open. In one order of these, so one of the two sees the other.
            inside_.fetch_add(1);
            bool finished = true;
            if (job_.load() == seen && thread <= helpers_) {
                set_denormal_mode(mode_);
                finished = take_tasks(thread, [&] { return Clock::now() - self.turn_began > kTurn; });
            }
            inside_.fetch_sub(1);
            if (!finished) {
                end_turn(self);
                seen = 0;  // to go on with the same job
            }
        }
    }

    // Waits for an open job other than `seen`.
    std::uint32_t next_job(std::uint32_t seen, Worker& self) {
        const auto bedtime = Clock::now() + kAlert;
        for (int look = 1;; ++look) {
            const std::uint32_t job = job_.load();
            if (job % 2 == 1 && job != seen) return job;
            pause();
            if (look % kLooks != 0) continue;
            const auto now = Clock::now();
            if (now - self.turn_began > kTurn) end_turn(self);
            if (now > bedtime) {
                self.asleep.store(true);
                asleep_.fetch_add(1);
                job_.wait(job);
                asleep_.fetch_sub(1);
                self.asleep.store(false);
#if defined(__linux__)
                sched_setaffinity(0, sizeof self.affinity, &self.affinity);
#endif
                self.turn_began = Clock::now();
            }
        }
    }

    static void end_turn(Worker& self) {
        std::this_thread::yield();
        self.turn_began = Clock::now();
    }

    // What is left of a thread's tasks; on a cache line of its own.
    struct alignas(64) Share {
        std::atomic<index_t> next{0};
        index_t end = 0;
    };

    std::mutex one_caller_;
    int started_ = 0;
    Worker workers_[kMostThreads];  // but the first, which stands for the caller

    // The job: written by the caller while no worker is inside, read by workers inside.
    detail::TaskFunction function_ = nullptr;
    void* body_ = nullptr;
    int helpers_ = 0;
    DenormalMode mode_ = 0;
    std::exception_ptr error_;  // read by the caller when no worker is inside
    std::atomic<bool> failed_{false};
    Share shares_[kMostThreads];  // the caller's first

    std::atomic<Clock::rep> distrusted_until_{0};

    // Each on a cache line of its own.
    alignas(64) std::atomic<std::uint32_t> job_{0};
    alignas(64) std::atomic<int> inside_{0};
    std::atomic<int> asleep_{0};
};

}  // namespace

namespace {

Pool& the_pool() {
    // Never destroyed: workers may outlive main().
    static Pool& pool = *new Pool;
    return pool;
}

}  // namespace

void run_with_workers(index_t tasks, int helpers, detail::TaskFunction function, void* body) {
    the_pool().run(tasks, helpers, function, body);
}

bool workers_were_prompt() { return the_pool().were_prompt(); }

}  // namespace ranvier
