// One pass at a time over a network: who may run, and who waits.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace ranvier {

// Passes over one network's parameters go one after the other, first come first served. A thread in the
// middle of a pass may begin others that only read: those of a custom layer or loss that asks its own
// network.
class PassLock {
public:
    // A pass that reads parameters. `interrupted` is asked now and then while it waits, and throws to give
    // up.
    class Reading {
    public:
        Reading(PassLock& lock, const std::function<void()>& interrupted);
        ~Reading();
        Reading(const Reading&) = delete;
        // Whether the calling thread is in the middle of another pass.
        bool is_nested() const { return nested_; }

    private:
        PassLock& lock_;
        bool nested_;
    };

    // A pass that changes parameters, gradients or what a backward pass reads. Throws std::runtime_error in
    // the middle of a pass of the same thread.
    class Changing {
    public:
        Changing(PassLock& lock, const std::function<void()>& interrupted);
        ~Changing();
        Changing(const Changing&) = delete;

    private:
        PassLock& lock_;
    };

    // Throws std::runtime_error in the middle of a pass of the calling thread.
    void require_no_pass() const;

    // Takes the lock if that needs no waiting and the calling thread is in no pass; release() must follow.
    bool try_acquire();
    void release();

    // Of a long pass, at a moment when its parameters are whole: lets those who wait go first.
    void let_others(const std::function<void()>& interrupted);

private:
    bool is_mine() const { return owner_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }
    void acquire(const std::function<void()>& interrupted);
    void hold();
    bool is_held();

    std::mutex mutex_;
    std::condition_variable changed_;
    bool held_ = false;
    int process_ = 0;  // of the holder
    std::deque<std::thread::id> queue_;
    std::atomic<int> waiting_{0};
    std::atomic<std::thread::id> owner_{};
};

}  // namespace ranvier
