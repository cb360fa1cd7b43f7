// Tasks are run once each, by any number of threads and callers, and what they throw comes back.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ranvier/threads.h"

namespace {

using ranvier::index_t;

std::vector<int> counts_of(index_t tasks, int threads) {
    std::vector<std::atomic<int>> counts(static_cast<std::size_t>(tasks));
    ranvier::parallel_for(tasks, threads, [&](index_t task) { ++counts[static_cast<std::size_t>(task)]; });
    return {counts.begin(), counts.end()};
}

TEST(Threads, RunEachTaskOnce) {
    for (int threads : {1, 2, 3, 7, 20})
        for (index_t tasks : {0, 1, 2, 3, 50, 1000})
            EXPECT_EQ(counts_of(tasks, threads), std::vector<int>(static_cast<std::size_t>(tasks), 1));
}

TEST(Threads, ServeSeveralCallersAtOnce) {
    std::vector<std::thread> callers;
    std::atomic<int> right{0};
    for (int caller = 0; caller < 4; ++caller)
        callers.emplace_back([&] {
            for (int turn = 0; turn < 200; ++turn) right += counts_of(40, 3) == std::vector<int>(40, 1);
        });
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(right, 800);
}

TEST(Threads, RunTasksWithinTasksOnTheSameThread) {
    ranvier::set_num_threads(4);
    std::atomic<int> sum{0}, most{0};
    ranvier::parallel_for(8, 4, [&](index_t) {
        most = std::max(most.load(), ranvier::num_threads());
        const std::thread::id here = std::this_thread::get_id();
        ranvier::parallel_for(5, 4, [&](index_t) { sum += std::this_thread::get_id() == here; });
    });
    ranvier::set_num_threads(0);
    EXPECT_EQ(sum, 40);
    EXPECT_EQ(most, 1);
}

TEST(Threads, ThrowAgainWhatATaskThrew) {
    for (int threads : {1, 3}) {
        const auto run = [&] {
            ranvier::parallel_for(20, threads, [](index_t task) {
                if (task == 13) throw std::runtime_error("thirteen");
            });
        };
        EXPECT_THROW(run(), std::runtime_error);
        EXPECT_EQ(counts_of(30, threads), std::vector<int>(30, 1));
    }
    EXPECT_GE(ranvier::num_threads(), 1);
}

}  // namespace
