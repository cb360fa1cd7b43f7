// Ranks that share memory: threads stand for them, on segments of one process. Their sums are compared with a
// plain tree, to the bit, and what one publishes with what the others fetch.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ranvier/memory.h"
#include "ranvier/parameters.h"
#include "ranvier/shared_ranks.h"
#include "ranvier/trainer.h"

namespace ranvier {
namespace {

// Segments of so many ranks, ready.
template <class T>
struct Memory {
    std::vector<Buffer<std::uint8_t>> buffers;
    std::vector<std::byte*> segments;

    Memory(index_t ranks, index_t parameters) {
        for (index_t rank = 0; rank < ranks; ++rank) {
            buffers.emplace_back(static_cast<index_t>(SharedRanks<T>::bytes(rank, parameters)));
            segments.push_back(reinterpret_cast<std::byte*>(buffers.back().data()));
            SharedRanks<T>::prepare(segments.back());
        }
    }
};

// body(ranks) of each rank, on a thread of its own.
template <class T, class Body>
void together(Memory<T>& memory, index_t parameters, Body&& body) {
    std::vector<std::thread> threads;
    for (index_t rank = 0; rank < static_cast<index_t>(memory.segments.size()); ++rank)
        threads.emplace_back([&, rank] {
            SharedRanks<T> ranks(rank, memory.segments, parameters, {});
            body(ranks);
        });
    for (std::thread& thread : threads) thread.join();
}

template <class T>
std::vector<T> random_numbers(index_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    std::vector<T> numbers(static_cast<std::size_t>(count));
    for (T& number : numbers) number = static_cast<T>(normal(generator) * (seed % 3 ? 1 : 1000));
    return numbers;
}

// Neighbours, then pairs of neighbours, and so on.
template <class T>
T tree_sum(std::vector<T> terms) {
    while (terms.size() > 1) {
        std::vector<T> sums;
        for (std::size_t i = 0; i < terms.size(); i += 2)
            sums.push_back(i + 1 < terms.size() ? terms[i] + terms[i + 1] : terms[i]);
        terms = sums;
    }
    return terms[0];
}

template <class T>
class TestSharedRanks : public testing::Test {};
using Elements = testing::Types<float, double>;
TYPED_TEST_SUITE(TestSharedRanks, Elements);

// Each rank adds up ranges of its own, in an order of its own, and then all take them over.
TYPED_TEST(TestSharedRanks, SumsAreThoseOfATree) {
    using T = TypeParam;
    for (const index_t count : {1, 7, 1023, 1024, 1025, 5003})
        for (const index_t size : {1, 2, 3, 4, 5, 8}) {
            Memory<T> memory(size, count);
            std::vector<std::vector<T>> gradients;
            for (index_t rank = 0; rank < size; ++rank)
                gradients.push_back(random_numbers<T>(count, static_cast<unsigned>(rank + 3)));
            std::vector<std::vector<T>> sums(static_cast<std::size_t>(size));
            together<T>(memory, count, [&](SharedRanks<T>& ranks) {
                const index_t rank = ranks.rank();
                const auto& own = gradients[static_cast<std::size_t>(rank)];
                auto& sum = sums[static_cast<std::size_t>(rank)];
                std::copy(own.begin(), own.end(), ranks.gradients());
                ranks.meet();
                const index_t first = count * rank / size, last = count * (rank + 1) / size;
                std::vector<index_t> cuts = {first, last};
                if (last - first > 2) cuts = {first, first + 1, (first + last) / 2, last};
                for (std::size_t i = cuts.size() - 1; i-- > 0;) {  // from behind
                    ranks.sum(cuts[i], cuts[i + 1] - cuts[i]);
                    ranks.publish(cuts[i], cuts[i + 1] - cuts[i], ranks.gradients());
                }
                ranks.meet();
                sum.assign(ranks.gradients(), ranks.gradients() + count);
                for (index_t other = size; other-- > 0;) {
                    const index_t from = count * other / size, to = count * (other + 1) / size;
                    if (other != rank) ranks.fetch(from, to - from, sum.data());
                }
                ranks.meet();
            });
            for (index_t i = 0; i < count; ++i) {
                std::vector<T> terms;
                for (const auto& own : gradients) terms.push_back(own[static_cast<std::size_t>(i)]);
                for (const auto& sum : sums)
                    ASSERT_EQ(sum[static_cast<std::size_t>(i)], tree_sum(terms)) << size << " ranks, " << i;
            }
        }
}

// Also more numbers than go at a time, and in turns with other meetings.
TYPED_TEST(TestSharedRanks, AllGatherTheNumbersOfAll) {
    using T = TypeParam;
    for (const index_t size : {1, 2, 4}) {
        Memory<T> memory(size, 1);
        together<T>(memory, 1, [&](SharedRanks<T>& ranks) {
            for (index_t turn = 0; turn < 200; ++turn) {
                const index_t count =
                    std::vector<index_t>{1, 5, 1024, 2500}[static_cast<std::size_t>(turn % 4)];
                std::vector<double> own(static_cast<std::size_t>(count)),
                    all(own.size() * static_cast<std::size_t>(size));
                for (std::size_t i = 0; i < own.size(); ++i)
                    own[i] = static_cast<double>(ranks.rank()) * 1e6 + static_cast<double>(turn) * 1e4 +
                             static_cast<double>(i);
                ranks.gather(count, own.data(), all.data());
                for (std::size_t rank = 0; rank < static_cast<std::size_t>(size); ++rank)
                    for (std::size_t i = 0; i < own.size(); ++i)
                        ASSERT_EQ(all[rank * own.size() + i], static_cast<double>(rank) * 1e6 +
                                                                  static_cast<double>(turn) * 1e4 +
                                                                  static_cast<double>(i));
                if (turn % 3 == 0) ranks.meet();
            }
        });
    }
}

// What later ranks in the same memory go on from.
TYPED_TEST(TestSharedRanks, MemoryServesAgain) {
    using T = TypeParam;
    Memory<T> memory(2, 10);
    for (int turn = 0; turn < 3; ++turn)
        together<T>(memory, 10, [&](SharedRanks<T>& ranks) {
            double own = static_cast<double>(ranks.rank()), all[2];
            for (int i = 0; i <= turn; ++i) ranks.gather(1, &own, all);
            EXPECT_EQ(all[0], 0);
            EXPECT_EQ(all[1], 1);
        });
}

std::string error_of_waiting(SharedRanks<float>& ranks) {
    try {
        ranks.meet();
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

TEST(SharedRanks, WhoWaitsHearsOfARankThatFails) {
    Memory<float> memory(2, 10);
    together<float>(memory, 10, [](SharedRanks<float>& ranks) {
        if (ranks.rank() == 1)
            ranks.leave();
        else
            EXPECT_EQ(error_of_waiting(ranks),
                      "communicator: rank 1 has failed in the middle of the training");
    });
}

// A rank that failed after it had come is no reason to fail.
TEST(SharedRanks, WhoHasComeMayLeave) {
    Memory<float> memory(2, 10);
    together<float>(memory, 10, [](SharedRanks<float>& ranks) {
        if (ranks.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(150));
        ranks.meet();
        ranks.leave();
    });
}

TEST(SharedRanks, WhoWaitsHearsOfARankThatEnds) {
    constexpr std::size_t kBytes = 1 << 20;
    void* const memory = mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    const std::vector<std::byte*> segments = {static_cast<std::byte*>(memory),
                                              static_cast<std::byte*>(memory) + kBytes};
    int ready[2], end[2];
    ASSERT_EQ(pipe(ready) + pipe(end), 0);
    char byte = 0;
    const pid_t child = fork();
    if (child == 0) {
        SharedRanks<float>::prepare(segments[1]);
        _exit(write(ready[1], &byte, 1) == 1 && read(end[0], &byte, 1) == 1 ? 0 : 1);
    }
    SharedRanks<float>::prepare(segments[0]);
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    SharedRanks<float> ranks(0, segments, 10, {});
    ASSERT_EQ(write(end[1], &byte, 1), 1);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    EXPECT_EQ(error_of_waiting(ranks), "communicator: rank 1 has ended in the middle of the training");
    for (const int file : {ready[0], ready[1], end[0], end[1]}) close(file);
    munmap(memory, 2 * kBytes);
}

TEST(SharedRanks, WhoWaitsMayBeInterrupted) {
    Memory<float> memory(2, 10);
    SharedRanks<float> ranks(0, memory.segments, 10, [] { throw std::runtime_error("enough"); });
    EXPECT_EQ(error_of_waiting(ranks), "enough");
}

// What two epochs make of parameters and state, with each batch in four parts.
struct Trained {
    std::vector<float> values, state;
    double loss = 0;
};

constexpr index_t kSamples = 83, kInputs = 300, kBatch = 32, kParts = 4;

Trained train(Peers<float>& peers, const UpdateOptions& options) {
    const std::vector<LayerSpec> layers = {LinearSpec{kInputs, 70, true}, ActivationSpec{Activation::tanh},
                                           LinearSpec{70, 3, true}};
    const auto parameters = std::make_shared<Parameters<float>>(layers);
    const auto values = random_numbers<float>(parameters->size(), 1);
    for (index_t i = 0; i < parameters->size(); ++i)
        parameters->values()[i] = values[static_cast<std::size_t>(i)] / 10;
    const auto x = random_numbers<float>(kSamples * kInputs, 2);
    std::vector<std::int64_t> labels, order, bounds;
    for (index_t i = 0; i < kSamples; ++i) labels.push_back(i * i % 3);
    DataParallel<float> all;
    all.parts = kParts / peers.size();
    all.all_parts = kParts;
    all.peers = &peers;
    for (index_t begin = 0; begin < kSamples; begin += kBatch, ++all.batches) {
        const index_t size = std::min(kBatch, kSamples - begin);
        for (index_t part = 0; part <= all.parts; ++part)
            bounds.push_back(size * (peers.rank() * all.parts + part) / kParts);
        const std::int64_t* own = bounds.data() + all.batches * (all.parts + 1);
        for (index_t i = own[0]; i < own[all.parts]; ++i) order.push_back(begin + i);
    }
    all.bounds = bounds.data();
    Optimizer<float> optimizer(options, parameters->size());
    Trainer<float> trainer(parameters, {kInputs}, kBatch, 0);
    EpochOptions<float> epoch;
    epoch.batch_size = kBatch;
    epoch.data_parallel = &all;
    Trained trained;
    for (int i = 0; i < 2; ++i)
        trained.loss = trainer
                           .train_epoch(static_cast<index_t>(order.size()), {x.data()},
                                        {Loss::softmax_cross_entropy, {nullptr, labels.data()}, {}},
                                        order.data(), optimizer, epoch)
                           .loss;
    EXPECT_TRUE(optimizer.is_whole);
    trained.values.assign(parameters->values(), parameters->values() + parameters->size());
    for (const auto& [name, buffer] : optimizer.state())
        trained.state.insert(trained.state.end(), buffer->data(), buffer->data() + buffer->size());
    return trained;
}

TEST(SharedRanks, TrainingsHaveTheSameBitsOnAnyNumberOfThem) {
    UpdateOptions clipped;
    clipped.momentum = 0.9;
    clipped.clip_norm = 0.5;
    UpdateOptions averaged;
    averaged.rule = UpdateRule::adam;
    averaged.ema_decay = 0.9;
    constexpr index_t kParameters = 301 * 80 + 71 * 16;  // or fewer
    for (const UpdateOptions& options : {UpdateOptions{}, clipped, averaged}) {
        std::vector<Trained> results;
        for (const index_t size : {1, 2, 4}) {
            Memory<float> memory(size, kParameters);
            std::vector<Trained> own(static_cast<std::size_t>(size));
            together<float>(memory, kParameters, [&](SharedRanks<float>& ranks) {
                own[static_cast<std::size_t>(ranks.rank())] = train(ranks, options);
            });
            results.insert(results.end(), own.begin(), own.end());
        }
        for (const Trained& result : results) {
            EXPECT_EQ(result.values, results[0].values);
            EXPECT_EQ(result.state, results[0].state);
            EXPECT_EQ(result.loss, results[0].loss);
        }
    }
}

}  // namespace
}  // namespace ranvier
