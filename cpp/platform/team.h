// A team of threads that take numbered tasks off one caller's hands, if they come in time: the job, the
// dealing and stealing of tasks, waiting and waking. Where its threads come from is the derived classes'
// matter: thread_pool.cpp or openmp_team.cpp.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>

#include "denormals.h"
#include "ranvier/threads.h"

namespace ranvier {

class Team {
public:
    static constexpr int kMostThreads = 256;

    // Calls function(body) on the calling thread, the team's first, while up to threads - 1 others serve, and
    // throws again what it throws. `usual` is how many threads this caller's next teams are likely to have.
    // One caller at a time; not for a child of fork().
    virtual void assemble(int threads, int usual, detail::RegionFunction function, void* body) = 0;

    // Whether to assemble takes so long that one does it for many jobs.
    virtual bool is_worth_keeping() const = 0;

    // Runs function(body, task) for each task in [0, tasks) on up to `threads` threads of the team that the
    // caller has assembled. The caller waits for tasks that a member has begun, but never for a member to
    // wake up: what nobody else has taken it does itself.
    void run(index_t tasks, int threads, detail::TaskFunction function, void* body);

    // False for kDistrust after a caller had to wait long for a member to end its task.
    bool was_prompt() const;

protected:
    using Clock = std::chrono::steady_clock;

    Team() = default;
    ~Team() = default;

    // The caller's: before members come that are to be dismissed; how many threads the next jobs may have,
    // itself included; to send the members home.
    void open();
    void admit(int threads) { threads_ = threads; }
    void dismiss();
    // Waits for a number to be reached, notes if it takes long, and lets members that share the caller's
    // processor in.
    void wait_for(const std::atomic<int>& value, int wanted);

    // A member's, from 1 on: takes part in the caller's jobs until it is dismissed.
    void serve(int member);

    // The caller is about to wake who sleeps, and has done so; a member is about to sleep, and has slept. A
    // job is open meanwhile, which no exception may leave.
    virtual void before_waking(int /*helpers*/) noexcept {}
    virtual void after_waking() noexcept {}
    virtual void before_sleeping(int /*member*/) noexcept {}
    virtual void after_sleeping(int /*member*/) noexcept {}

private:
    // For how long a member has had its processor.
    struct Turn {
        Clock::time_point began = Clock::now();
        void end();
    };

    std::uint32_t next_job(std::uint32_t seen, int member, Turn& turn);
    void sleep(std::uint32_t job, int member);
    template <class Leave>
    bool take_tasks(int thread, Leave&& leave);
    void run_task(index_t task);
    void announce(std::uint32_t state);

    // What is left of a thread's tasks; on a cache line of its own.
    struct alignas(64) Share {
        std::atomic<index_t> next{0};
        index_t end = 0;
    };

    int threads_ = 1;  // the caller's

    // The job: written by the caller while no member is inside, read by members inside.
    detail::TaskFunction function_ = nullptr;
    void* body_ = nullptr;
    int helpers_ = 0;
    DenormalMode mode_ = 0;
    std::exception_ptr error_;  // read by the caller when no member is inside
    std::atomic<bool> failed_{false};
    Share shares_[kMostThreads];  // the caller's first

    std::atomic<Clock::rep> distrusted_until_{0};

    // Each on a cache line of its own. A job's number is followed by its state, of two bits.
    alignas(64) std::atomic<std::uint32_t> job_{0};
    alignas(64) std::atomic<int> inside_{0};
    std::atomic<int> asleep_{0};
};

}  // namespace ranvier
