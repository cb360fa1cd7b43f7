// Time: a gate that opens now and then, and a stopwatch.
#pragma once

#include <chrono>

namespace ranvier {

using Clock = std::chrono::steady_clock;

// A gate that opens every 100 ms: often enough for a progress bar and for Ctrl-C.
class Ticker {
public:
    bool due() {
        const auto now = Clock::now();
        if (now - last_ < std::chrono::milliseconds(100)) return false;
        last_ = now;
        return true;
    }

private:
    Clock::time_point last_ = Clock::now();
};

// Adds the time since its making to a sum, if there is one.
class Stopwatch {
public:
    explicit Stopwatch(double* sum) : sum_(sum) {
        if (sum_) start_ = Clock::now();
    }
    ~Stopwatch() {
        if (sum_) *sum_ += std::chrono::duration<double>(Clock::now() - start_).count();
    }
    Stopwatch(const Stopwatch&) = delete;

private:
    double* sum_;
    Clock::time_point start_;
};

}  // namespace ranvier
