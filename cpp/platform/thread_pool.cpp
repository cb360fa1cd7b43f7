// Threads of our own: started when first needed, asleep when there is nothing to do, never joined.
#include "thread_pool.h"

#include <algorithm>
#include <new>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>
#endif

#include "affinity.h"

namespace ranvier {
namespace {

class ThreadPool final : public Team {
public:
    void assemble(int threads, int /*usual*/, detail::RegionFunction function, void* body) override {
        start_workers(std::min(threads, kMostThreads) - 1);
        admit(std::min(threads, started_ + 1));
        function(body);
    }

    bool is_worth_keeping() const override { return false; }

private:
    void start_workers(int wanted) {
        for (; started_ < wanted; ++started_) {
            try {
                std::thread([this, member = started_ + 1] { work(member); }).detach();
            } catch (const std::system_error&) {
                return;  // the machine gives no more threads: fewer will do
            }
        }
    }

    int started_ = 0;

#if defined(__linux__)
    // A sleeper is pinned by the caller and unpinned by itself: `state` says whose turn it is.
    enum State{kAwake, kAsleep, kBeingPinned, kPinned};
    struct Worker {
        std::atomic<State> state{kAwake};
        pid_t id = 0;
        CpuMask affinity;  // before it was pinned
    };

    void work(int member) {
        workers_[member].id = static_cast<pid_t>(syscall(SYS_gettid));
        serve(member);
    }

    void before_sleeping(int member) noexcept override { workers_[member].state.store(kAsleep); }

    void after_sleeping(int member) noexcept override {
        Worker& self = workers_[member];
        for (State state = kAsleep; !self.state.compare_exchange_weak(state, kAwake); state = kAsleep) {
            if (state == kPinned) {
                self.affinity.apply_to(0);
                self.state.store(kAwake);
                return;
            }
            std::this_thread::yield();
        }
    }

    // Systems like to put a woken thread on its waker's processor, which has better to do, and to leave it
    // there for milliseconds. So each sleeper may wake up on another processor only, one for each; awake, it
    // is free again.
    void before_waking(int helpers) noexcept override {
        try {
            pin_sleepers(helpers);
        } catch (const std::bad_alloc&) {
            // Without memory for masks they wake up where the system likes.
        }
    }

    void pin_sleepers(int helpers) {
        const int here = current_processor();
        std::vector<int> others = CpuMask::of_thread(0).processors();
        others.erase(std::remove(others.begin(), others.end(), here), others.end());
        if (here < 0 || others.empty()) return;
        for (int member = 1; member <= helpers; ++member)
            pin(workers_[member], others[(member - 1) % others.size()]);
    }

    static void pin(Worker& worker, int cpu) {
        State state = kAsleep;
        if (!worker.state.compare_exchange_strong(state, kBeingPinned)) return;
        bool pinned = false;
        try {
            worker.affinity = CpuMask::of_thread(worker.id);
            pinned = worker.affinity.count() > 0 && CpuMask::only(cpu).apply_to(worker.id);
        } catch (const std::bad_alloc&) {
        }
        worker.state.store(pinned ? kPinned : kAsleep);
    }

    Worker workers_[kMostThreads];  // but the first, which stands for the caller
#else
    void work(int member) { serve(member); }
#endif
};

}  // namespace

Team& thread_pool() {
    // Never destroyed: workers may outlive main().
    static ThreadPool& pool = *new ThreadPool;
    return pool;
}

}  // namespace ranvier
