// Ranks of one machine that share memory: each has its gradients there, adds up those of all in its share of
// the parameters, and shows the others what its update makes of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "ranvier/array.h"
#include "ranvier/peers.h"

namespace ranvier {

// The memory is in segments, one of each rank, which all ranks see, wherever they see it. They outlive this.
template <class T>
class SharedRanks final : public Peers<T> {
public:
    // What a rank's segment has to hold for so many parameters.
    static std::size_t bytes(index_t rank, index_t parameters);
    // Makes a segment this process's. All have to be ready before the first constructor.
    static void prepare(std::byte* segment);

    // Whose wait for others lasts calls `interrupted` now and then, which throws to give up. A rank that has
    // ended or failed is a std::runtime_error of those who wait for it.
    SharedRanks(index_t rank, const std::vector<std::byte*>& segments, index_t parameters,
                std::function<void()> interrupted);

    void gather(index_t count, const double* own, double* all) override;
    T* gradients() override { return segments_[this->rank()].gradients; }
    void reduce(index_t, index_t) override {}  // the share's sum is made at once
    void wait() override {}                    // gather() is enough
    bool shares_update() const override { return true; }
    void sum(index_t first, index_t count) override;
    void publish(index_t first, index_t count, const T* flat) override;
    void meet() override;
    void fetch(index_t first, index_t count, T* flat) const override;
    void leave() override;

    // Spent in these functions so far, by all threads.
    double seconds() const {
        return static_cast<double>(nanoseconds_.load(std::memory_order_relaxed)) * 1e-9;
    }

private:
    struct Header;
    struct Segment {
        Header* header;
        T* gradients;
        int process;  // 0: nobody can tell from here whether it lives
    };
    void wait_for(index_t other) const;
    bool has_come(index_t other) const;
    void look_after(index_t other) const;

    std::vector<Segment> segments_;
    T* published_;  // in the first segment
    std::function<void()> interrupted_;
    std::uint64_t meetings_;  // so far, also of others before this one in the same memory
    mutable std::atomic<std::int64_t> nanoseconds_{0};
};

}  // namespace ranvier
