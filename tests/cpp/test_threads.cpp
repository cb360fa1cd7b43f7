// Tasks are run once each, by any number of threads and callers, and what they throw comes back. All of it
// with the back end that RANVIER_THREADING names, and in a region as without one.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ranvier/threads.h"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>

#include <fstream>
#include <string>

#include "../../cpp/platform/affinity.h"
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace {

using ranvier::index_t;
using ranvier::parallel_for;
using ranvier::parallel_region;
using namespace std::chrono_literals;

std::vector<int> counts_of(index_t tasks, int threads) {
    std::vector<std::atomic<int>> counts(static_cast<std::size_t>(tasks));
    parallel_for(tasks, threads, [&](index_t task) { ++counts[static_cast<std::size_t>(task)]; });
    return {counts.begin(), counts.end()};
}

// Waits until something is so; false if that takes far too long.
template <class Condition>
bool wait_until(Condition&& condition) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(20us);
    }
    return true;
}

// Runs `threads` tasks, each of which waits for the others; whether all came, each on a thread of its own.
bool all_threads_come(int threads) {
    std::atomic<int> arrived{0}, met{0};
    std::vector<std::thread::id> ids(static_cast<std::size_t>(threads));
    parallel_for(threads, threads, [&](index_t task) {
        ids[static_cast<std::size_t>(task)] = std::this_thread::get_id();
        ++arrived;
        met += wait_until([&] { return arrived == threads; });
    });
    return met == threads && std::set<std::thread::id>(ids.begin(), ids.end()).size() == ids.size();
}

TEST(Threads, RunEachTaskOnce) {
    for (int threads : {1, 2, 3, 7, 20})
        for (index_t tasks : {0, 1, 2, 3, 50, 1000}) {
            const std::vector<int> once(static_cast<std::size_t>(tasks), 1);
            EXPECT_EQ(counts_of(tasks, threads), once);
            parallel_region(threads, [&] {
                EXPECT_EQ(counts_of(tasks, threads), once);
                EXPECT_EQ(counts_of(tasks, threads + 3), once);
                EXPECT_EQ(counts_of(tasks, 2), once);
            });
        }
}

TEST(Threads, AllTakePart) {
    for (int threads : {2, 4, 3, 2}) {
        EXPECT_TRUE(all_threads_come(threads));
        parallel_region(threads, [&] {
            for (int turn = 0; turn < 3; ++turn) EXPECT_TRUE(all_threads_come(threads));
        });
    }
}

TEST(Threads, StealWhatAnotherHasNotBegun) {
    const auto run = [] {
        std::atomic<int> others{0};
        bool stolen = false;
        parallel_for(8, 2, [&](index_t task) {
            if (task == 0)
                stolen = wait_until([&] { return others == 7; });
            else
                ++others;
        });
        return stolen;
    };
    EXPECT_TRUE(run());
    parallel_region(2, [&] { EXPECT_TRUE(run()); });
}

TEST(Threads, WakeUpAfterAPauseInARegion) {
    parallel_region(3, [] {
        for (int turn = 0; turn < 5; ++turn) {
            std::this_thread::sleep_for(20ms);
            EXPECT_TRUE(all_threads_come(3));
        }
        std::this_thread::sleep_for(20ms);
    });
}

// A member that has not ended its task in time is no help for small jobs, for a while.
TEST(Threads, AreNotTrustedForAWhileAfterALongWait) {
    parallel_region(2, [] {
        EXPECT_TRUE(wait_until([] {  // unless the caller itself loses its processor for longer than that
            std::atomic<int> begun{0};
            parallel_for(2, 2, [&](index_t task) {
                wait_until([&] { return ++begun >= 2; });
                if (task == 1) std::this_thread::sleep_for(5ms);
            });
            return !ranvier::detail::workers_are_prompt();
        }));
        EXPECT_TRUE(wait_until([] { return ranvier::detail::workers_are_prompt(); }));
        EXPECT_TRUE(all_threads_come(2));
    });
}

TEST(Threads, ServeSeveralCallersAtOnce) {
    for (const bool in_region : {false, true}) {
        std::vector<std::thread> callers;
        std::atomic<int> right{0};
        for (int caller = 0; caller < 4; ++caller)
            callers.emplace_back([&] {
                const auto turn = [&] { right += counts_of(40, 3) == std::vector<int>(40, 1); };
                for (int k = 0; k < 200; ++k) in_region ? parallel_region(3, turn) : turn();
            });
        for (std::thread& caller : callers) caller.join();
        EXPECT_EQ(right, 800);
    }
}

TEST(Threads, RunTasksWithinTasksOnTheSameThread) {
    ranvier::set_num_threads(4);
    std::atomic<int> sum{0}, most{0};
    parallel_for(8, 4, [&](index_t) {
        const std::thread::id here = std::this_thread::get_id();
        parallel_region(4, [&] {
            most = std::max(most.load(), ranvier::num_threads());
            parallel_for(5, 4, [&](index_t) { sum += std::this_thread::get_id() == here; });
        });
    });
    ranvier::set_num_threads(0);
    EXPECT_EQ(sum, 40);
    EXPECT_EQ(most, 1);
}

TEST(Threads, ARegionSaysHowManyItHas) {
    const int usual = ranvier::num_threads();
    parallel_region(3, [] {
        EXPECT_EQ(ranvier::num_threads(), 3);
        parallel_region(1, [] { EXPECT_EQ(ranvier::num_threads(), 1); });
        parallel_region(7, [] {
            EXPECT_EQ(ranvier::num_threads(), 3);
            EXPECT_TRUE(all_threads_come(3));
        });
        parallel_for(6, 3, [](index_t) { EXPECT_EQ(ranvier::num_threads(), 1); });
        EXPECT_EQ(ranvier::num_threads(), 3);
    });
    parallel_region(1, [] { EXPECT_EQ(ranvier::num_threads(), 1); });
    EXPECT_EQ(ranvier::num_threads(), usual);
}

TEST(Threads, ThrowAgainWhatATaskThrew) {
    const auto run = [](int threads) {
        parallel_for(20, threads, [](index_t task) {
            if (task == 13) throw std::runtime_error("thirteen");
        });
    };
    for (int threads : {1, 3}) {
        EXPECT_THROW(run(threads), std::runtime_error);
        EXPECT_EQ(counts_of(30, threads), std::vector<int>(30, 1));
        parallel_region(threads, [&] {
            EXPECT_THROW(run(threads), std::runtime_error);
            EXPECT_TRUE(all_threads_come(threads));
        });
        EXPECT_THROW(parallel_region(threads, [&] { run(threads); }), std::runtime_error);
        EXPECT_THROW(parallel_region(threads, [] { throw std::logic_error("no task"); }), std::logic_error);
        EXPECT_TRUE(all_threads_come(threads));
    }
    EXPECT_GE(ranvier::num_threads(), 1);
}

#ifdef _OPENMP
TEST(Threads, LeaveTheCallersOwnOpenmpRegionAlone) {
    std::atomic<int> right{0};
#pragma omp parallel num_threads(3)
    {
        bool alone = true;
        const std::thread::id here = std::this_thread::get_id();
        parallel_region(2, [&] {
            alone = ranvier::num_threads() == 1;
            parallel_for(9, 2, [&](index_t) { alone = alone && std::this_thread::get_id() == here; });
        });
        right += alone;
    }
    EXPECT_EQ(right, 3);
    EXPECT_TRUE(all_threads_come(3));
}

#ifdef __SSE2__
TEST(Threads, GiveTheirModeOfDenormalsBackToOpenmp) {
    volatile double tiny = 1e-310;
    const unsigned mode = _mm_getcsr();
    std::atomic<int> flushed{0}, kept{0};
    _mm_setcsr(mode | 0x8040);
    parallel_region(5, [&] {  // OpenMP starts some of these threads now
        std::atomic<int> arrived{0};
        parallel_for(5, 5, [&](index_t) {
            ++arrived;
            wait_until([&] { return arrived == 5; });
            flushed += tiny * 0.5 == 0;
        });
    });
    _mm_setcsr(mode);
#pragma omp parallel num_threads(5)
    kept += tiny * 0.5 != 0;
    EXPECT_EQ(flushed, 5);
    EXPECT_EQ(kept, 5);
}
#endif
#endif

#if defined(__linux__)
// What the system says that a thread of this process does: 'R' if it runs or could, 'S' if it sleeps.
char state_of(pid_t thread) {
    std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string line;
    std::getline(file, line);
    const std::size_t name = line.rfind(')');  // which may have blanks
    return name == std::string::npos || name + 2 >= line.size() ? '?' : line[name + 2];
}

TEST(Threads, FallAsleepInARegionAndWakeUp) {
    parallel_region(3, [] {
        for (int turn = 0; turn < 3; ++turn) {
            std::atomic<int> arrived{0};
            std::vector<pid_t> ids(3);
            parallel_for(3, 3, [&](index_t task) {
                ids[static_cast<std::size_t>(task)] = static_cast<pid_t>(syscall(SYS_gettid));
                ++arrived;
                wait_until([&] { return arrived == 3; });
            });
            for (const pid_t id : ids) {
                if (id == static_cast<pid_t>(syscall(SYS_gettid))) continue;
                EXPECT_TRUE(wait_until([&] { return state_of(id) == 'S'; }));
            }
            EXPECT_TRUE(all_threads_come(3));
        }
    });
}

TEST(Threads, KeepTheProcessorsThatTheyMayUse) {
    const auto processors = [] { return ranvier::CpuMask::of_thread(0).processors(); };
    ASSERT_TRUE(all_threads_come(3));
    const std::vector<int> all = processors();
    ASSERT_FALSE(all.empty());
    for (int turn = 0; turn < 10; ++turn) {
        std::this_thread::sleep_for(3ms);  // after this the pool's are woken up where they do not disturb
        std::atomic<int> arrived{0}, right{0};
        parallel_for(3, 3, [&](index_t) {
            ++arrived;
            wait_until([&] { return arrived == 3; });
            right += processors() == all;
        });
        EXPECT_EQ(right, 3);
    }
}
#endif

#if defined(__unix__) || defined(__APPLE__)
// What a child of fork() makes of `check`.
template <class Check>
bool holds_in_child(Check&& check) {
    const pid_t child = fork();
    if (child == 0) _exit(check() ? 0 : 1);
    int status = -1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool works_alone() {
    bool right = ranvier::num_threads() == 1;
    parallel_region(3, [&] {
        right = right && ranvier::num_threads() == 1 && counts_of(30, 3) == std::vector<int>(30, 1);
    });
    return right && counts_of(30, 3) == std::vector<int>(30, 1);
}

TEST(Threads, AChildOfForkWorksAlone) {
    EXPECT_TRUE(all_threads_come(3));
    EXPECT_TRUE(holds_in_child(works_alone));
    EXPECT_TRUE(all_threads_come(3));
}

TEST(Threads, AChildOfForkWorksAloneWhileAnotherThreadHasTheTeam) {
    std::atomic<bool> open{false}, end{false};
    std::thread other([&] {
        parallel_region(3, [&] {
            all_threads_come(3);
            open = true;
            wait_until([&] { return end.load(); });
        });
    });
    EXPECT_TRUE(wait_until([&] { return open.load(); }));
    EXPECT_TRUE(holds_in_child(works_alone));
    end = true;
    other.join();
    EXPECT_TRUE(all_threads_come(3));
}

TEST(Threads, AChildOfForkLeavesTheRegionInWhichItWasMade) {
    pid_t child = -1;
    const pid_t parent = getpid();
    const auto fork_inside = [&] {
        all_threads_come(3);
        child = fork();
        if (child == 0 && !works_alone()) _exit(1);
    };
    parallel_region(3, fork_inside);
    if (getpid() != parent) _exit(works_alone() ? 0 : 1);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_TRUE(all_threads_come(3));
}
#endif

}  // namespace
