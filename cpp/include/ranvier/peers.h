// Those who share the batches of a training, such as processes on this and on other machines: what they tell
// each other.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// Each is a rank, numbered from 0. All make the same calls in the same order.
template <class T>
class Peers {
public:
    Peers(index_t rank, index_t size) : rank_(rank), size_(size) {}
    virtual ~Peers() = default;
    Peers(const Peers&) = delete;
    Peers& operator=(const Peers&) = delete;

    index_t rank() const { return rank_; }
    index_t size() const { return size_; }

    // Takes `count` numbers, and gives those of all, in the ranks' order.
    virtual void gather(index_t count, const double* own, double* all) = 0;

    // Where this rank's gradients are to be; nullptr: where the parameters have them.
    virtual T* gradients() { return nullptr; }
    // A range of the gradients is complete here, and may be added up over all ranks, in place. wait() returns
    // when that is done, or, if the update is shared out, when it can be.
    virtual void reduce(index_t first, index_t count) = 0;
    virtual void wait() = 0;

    // Whether each rank makes its share of the update, by the functions that follow. Else each makes all of
    // it.
    virtual bool shares_update() const { return false; }
    // After a gather() behind wait(): has gradients() be the sum over all in a range of the own share.
    virtual void sum(index_t, index_t) {}
    // Shows a range of the own share of a flat buffer, such as the parameters' values.
    virtual void publish(index_t, index_t, const T*) {}
    // Returns when all ranks have come here.
    virtual void meet() {}
    // Takes over a range that another rank published before the last meet(). After the next one others may
    // publish anew.
    virtual void fetch(index_t, index_t, T*) const {}
    // Says that this rank fails: whoever waits for it raises an error instead.
    virtual void leave() {}

private:
    index_t rank_, size_;
};

}  // namespace ranvier
