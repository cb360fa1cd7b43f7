// The queue behind PassLock.
#include "pass_lock.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#else
#include <process.h>
#define getpid _getpid
#endif

namespace ranvier {

void PassLock::hold() {
    held_ = true;
    process_ = static_cast<int>(getpid());
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
}

// A holder does not survive fork().
bool PassLock::is_held() {
    if (held_ && process_ != static_cast<int>(getpid())) held_ = false;
    return held_;
}

void PassLock::acquire(const std::function<void()>& interrupted) {
    const auto self = std::this_thread::get_id();
    std::unique_lock lock(mutex_);
    if (is_held() || !queue_.empty()) {
        queue_.push_back(self);
        ++waiting_;
        const auto leave = [&] {
            queue_.erase(std::find(queue_.begin(), queue_.end(), self));
            --waiting_;
        };
        while (is_held() || queue_.front() != self) {
            if (changed_.wait_for(lock, std::chrono::milliseconds(50)) == std::cv_status::no_timeout)
                continue;
            lock.unlock();
            try {
                interrupted();
            } catch (...) {
                lock.lock();
                leave();
                changed_.notify_all();
                throw;
            }
            lock.lock();
        }
        leave();
    }
    hold();
}

bool PassLock::try_acquire() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || is_held() || !queue_.empty()) return false;
    hold();
    return true;
}

void PassLock::release() {
    {
        const std::lock_guard lock(mutex_);
        held_ = false;
        owner_.store({}, std::memory_order_relaxed);
    }
    if (waiting_.load() > 0) changed_.notify_all();
}

void PassLock::let_others(const std::function<void()>& interrupted) {
    if (waiting_.load(std::memory_order_relaxed) == 0) return;
    release();
    acquire(interrupted);
}

PassLock::Reading::Reading(PassLock& lock, const std::function<void()>& interrupted)
    : lock_(lock), nested_(lock.is_mine()) {
    if (!nested_) lock_.acquire(interrupted);
}
PassLock::Reading::~Reading() {
    if (!nested_) lock_.release();
}

void PassLock::require_no_pass() const {
    if (is_mine())
        throw std::runtime_error(
            "this network is in the middle of a pass: a layer, loss or report of its own may call predict "
            "and "
            "evaluate, but nothing that trains or makes gradients");
}

PassLock::Changing::Changing(PassLock& lock, const std::function<void()>& interrupted) : lock_(lock) {
    lock_.require_no_pass();
    lock_.acquire(interrupted);
}
PassLock::Changing::~Changing() { lock_.release(); }

}  // namespace ranvier
