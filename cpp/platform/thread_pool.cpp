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
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "denormals.h"

namespace ranvier {
namespace {

// How long a worker looks out for the next job before it sleeps: longer than the pauses between the kernels
// of a training step.
constexpr std::chrono::microseconds kAlert{1000};
constexpr int kLooks = 64;  // between two looks at the clock
constexpr int kMostThreads = 256;

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
        if (asleep_.load() > 0) job_.notify_all();
        take_tasks(0);
        job_.store(job + 1);
        wait_for_workers();
    }

private:
    void start_workers(int wanted) {
        for (; started_ < wanted; ++started_) {
            try {
                std::thread([this, thread = started_ + 1] { work(thread); }).detach();
            } catch (const std::system_error&) {
                return;  // the machine gives no more threads: fewer will do
            }
        }
    }

    // First one's own, then the others'.
    void take_tasks(int thread) {
        for (int k = 0; k <= helpers_; ++k) {
            Share& share = shares_[(thread + k) % (helpers_ + 1)];
            for (index_t task; (task = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;)
                function_(body_, task);
        }
    }

    // A worker that shares the caller's processor must be let in to finish.
    void wait_for_workers() {
        for (int look = 0; inside_.load() > 0; ++look)
            if (look < kLooks)
                pause();
            else
                std::this_thread::yield();
    }

    void work(int thread) {
        for (std::uint32_t seen = 0;;) {
            seen = next_job(seen);
            // The caller closes a job and then looks who is inside; a worker enters and then looks whether
            // the job is still open. In one order of these, so one of the two sees the other.
            inside_.fetch_add(1);
            if (job_.load() == seen && thread <= helpers_) {
                set_denormal_mode(mode_);
                take_tasks(thread);
            }
            inside_.fetch_sub(1);
        }
    }

    // Waits for an open job other than `seen`.
    std::uint32_t next_job(std::uint32_t seen) {
        using Clock = std::chrono::steady_clock;
        const auto bedtime = Clock::now() + kAlert;
        for (int look = 1;; ++look) {
            const std::uint32_t job = job_.load();
            if (job % 2 == 1 && job != seen) return job;
            pause();
            if (look % kLooks == 0 && Clock::now() > bedtime) {
                asleep_.fetch_add(1);
                job_.wait(job);
                asleep_.fetch_sub(1);
            }
        }
    }

    // What is left of a thread's tasks; on a cache line of its own.
    struct alignas(64) Share {
        std::atomic<index_t> next{0};
        index_t end = 0;
    };

    std::mutex one_caller_;
    int started_ = 0;

    // The job: written by the caller while no worker is inside, read by workers inside.
    detail::TaskFunction function_ = nullptr;
    void* body_ = nullptr;
    int helpers_ = 0;
    DenormalMode mode_ = 0;
    Share shares_[kMostThreads];  // the caller's first

    // Each on a cache line of its own.
    alignas(64) std::atomic<std::uint32_t> job_{0};
    alignas(64) std::atomic<int> inside_{0};
    std::atomic<int> asleep_{0};
};

}  // namespace

void run_with_workers(index_t tasks, int helpers, detail::TaskFunction function, void* body) {
    // Never destroyed: workers may outlive main().
    static Pool& pool = *new Pool;
    pool.run(tasks, helpers, function, body);
}

}  // namespace ranvier
