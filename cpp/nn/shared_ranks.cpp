// Ranks of one machine: meetings by counters in shared memory, and sums straight from the others' gradients.
//
// What a rank writes for others to read is written again only behind a later meeting, to which all come when
// they have read it. So numbers of two gatherings in succession lie apart.
#include "ranvier/shared_ranks.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "../platform/pause.h"
#include "clock.h"
#include "ranvier/elementwise.h"
#include "ranvier/memory.h"

namespace ranvier {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Who waits first spins, then offers its processor to others, then sleeps for moments.
constexpr int kLooks = 256;
constexpr milliseconds kAlert{10};
constexpr microseconds kNap{100};
// Between two looks whether the others live.
constexpr milliseconds kWatch{100};

// Numbers that a rank gives at a time; more go in several meetings.
constexpr index_t kNumbers = 1024;

// Elements that are added at a time: those of all ranks stay in the first-level cache.
constexpr index_t kAdded = 1024;

constexpr std::size_t kPage = 4096;

class Spent {
public:
    explicit Spent(std::atomic<std::int64_t>& sum) : sum_(sum), begin_(Clock::now()) {}
    ~Spent() {
        const std::chrono::nanoseconds spent = Clock::now() - begin_;
        sum_.fetch_add(spent.count(), std::memory_order_relaxed);
    }
    Spent(const Spent&) = delete;

private:
    std::atomic<std::int64_t>& sum_;
    Clock::time_point begin_;
};

std::size_t whole_pages(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

template <class T>
struct SharedRanks<T>::Header {
    alignas(kAlignment) std::atomic<std::uint64_t> arrived{0};  // at so many meetings
    std::atomic<bool> left{false};
    int process = 0;
    alignas(kAlignment) double numbers[2][kNumbers];
};

template <class T>
std::size_t SharedRanks<T>::bytes(index_t rank, index_t parameters) {
    const std::size_t flat = whole_pages(byte_count<T>(parameters));
    return whole_pages(sizeof(Header)) + (rank == 0 ? 2 : 1) * flat;
}

template <class T>
void SharedRanks<T>::prepare(std::byte* segment) {
    static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
    (new (segment) Header)->process = static_cast<int>(getpid());
}

template <class T>
SharedRanks<T>::SharedRanks(index_t rank, const std::vector<std::byte*>& segments, index_t parameters,
                            std::function<void()> interrupted)
    : Peers<T>(rank, static_cast<index_t>(segments.size())), interrupted_(std::move(interrupted)) {
    const std::size_t head = whole_pages(sizeof(Header)), flat = whole_pages(byte_count<T>(parameters));
    for (std::byte* segment : segments) {
        if (reinterpret_cast<std::uintptr_t>(segment) % kAlignment)
            throw std::invalid_argument("segments: expected memory at multiples of " +
                                        std::to_string(kAlignment));
        auto* header = reinterpret_cast<Header*>(segment);
        const bool is_seen = kill(header->process, 0) == 0 || errno == EPERM;
        segments_.push_back({header, reinterpret_cast<T*>(segment + head), is_seen ? header->process : 0});
    }
    published_ = reinterpret_cast<T*>(segments[0] + head + flat);
    meetings_ = segments_[static_cast<std::size_t>(rank)].header->arrived.load(std::memory_order_relaxed);
}

template <class T>
void SharedRanks<T>::gather(index_t count, const double* own, double* all) {
    for (index_t first = 0; first < count; first += kNumbers) {
        const index_t now = std::min(kNumbers, count - first);
        const std::size_t half = (meetings_ + 1) % 2;
        const auto numbers = [&](index_t rank) {
            return segments_[static_cast<std::size_t>(rank)].header->numbers[half];
        };
        std::copy_n(own + first, now, numbers(this->rank()));
        meet();
        for (index_t rank = 0; rank < this->size(); ++rank)
            std::copy_n(numbers(rank), now, all + rank * count + first);
    }
}

// As a binary tree has it: neighbours, then pairs of them, and so on.
template <class T>
void SharedRanks<T>::sum(index_t first, index_t count) {
    if (this->size() == 1) return;
    const Spent spent(nanoseconds_);
    const std::size_t ranks = segments_.size(), pairs = (ranks + 1) / 2;
    Scratch<T> memory(static_cast<index_t>(pairs) * kAdded);
    for (const index_t end = first + count; first < end; first += kAdded) {
        const index_t now = std::min(kAdded, end - first);
        T* const to = gradients() + first;
        const auto pair = [&](std::size_t i) {
            return pairs == 1 ? to : memory.data() + static_cast<index_t>(i) * kAdded;
        };
        for (std::size_t i = 0; i < pairs; ++i) {
            const T* one = segments_[2 * i].gradients + first;
            if (2 * i + 1 < ranks)
                add<T>(now, one, segments_[2 * i + 1].gradients + first, pair(i));
            else
                std::copy_n(one, now, pair(i));
        }
        for (std::size_t apart = 1; apart < pairs; apart *= 2)
            for (std::size_t i = 0; i + apart < pairs; i += 2 * apart) add<T>(now, pair(i + apart), pair(i));
        if (pairs > 1) std::copy_n(pair(0), now, to);
    }
}

template <class T>
void SharedRanks<T>::publish(index_t first, index_t count, const T* flat) {
    if (this->size() == 1) return;
    const Spent spent(nanoseconds_);
    std::copy_n(flat + first, count, published_ + first);
}

template <class T>
void SharedRanks<T>::fetch(index_t first, index_t count, T* flat) const {
    const Spent spent(nanoseconds_);
    std::copy_n(published_ + first, count, flat + first);
}

template <class T>
void SharedRanks<T>::meet() {
    const Spent spent(nanoseconds_);
    segments_[static_cast<std::size_t>(this->rank())].header->arrived.store(++meetings_,
                                                                            std::memory_order_release);
    for (index_t other = 0; other < this->size(); ++other)
        if (other != this->rank()) wait_for(other);
}

template <class T>
bool SharedRanks<T>::has_come(index_t other) const {
    const Header& header = *segments_[static_cast<std::size_t>(other)].header;
    return header.arrived.load(std::memory_order_acquire) >= meetings_;
}

template <class T>
void SharedRanks<T>::wait_for(index_t other) const {
    for (int look = 0; look < kLooks; ++look) {
        if (has_come(other)) return;
        pause();
    }
    const auto begin = Clock::now();
    auto watched = begin;
    while (!has_come(other)) {
        const auto now = Clock::now();
        if (now - begin < kAlert)
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(kNap);
        if (now - watched < kWatch) continue;
        watched = now;
        look_after(other);
    }
}

template <class T>
void SharedRanks<T>::look_after(index_t other) const {
    const Segment& segment = segments_[static_cast<std::size_t>(other)];
    const bool left = segment.header->left.load(std::memory_order_acquire);
    const bool ended = segment.process && kill(segment.process, 0) != 0 && errno == ESRCH;
    if ((left || ended) && !has_come(other))
        throw std::runtime_error("communicator: rank " + std::to_string(other) + " has " +
                                 (ended ? "ended" : "failed") + " in the middle of the training");
    if (interrupted_) interrupted_();
}

template <class T>
void SharedRanks<T>::leave() {
    segments_[static_cast<std::size_t>(this->rank())].header->left.store(true, std::memory_order_release);
}

template class SharedRanks<float>;
template class SharedRanks<double>;

}  // namespace ranvier
