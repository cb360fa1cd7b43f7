// What is done with the parameters once a batch went back: gradients completed, penalties added, looked at,
// and the update, in shards that threads share out.
#pragma once

#include <utility>
#include <vector>

#include "executor.h"
#include "ranvier/parameters.h"
#include "ranvier/peers.h"

namespace ranvier {

template <class T>
class Sweep {
public:
    Sweep(const Program<T>& program, Parameters<T>& parameters);

    struct Wishes {
        bool penalties = false;  // their gradients are added
        bool check = false;      // whether all gradients are finite
        bool measure = false;    // the sum of their squares
        double factor = 1;       // multiplies them first
    };
    // Of complete(): whether all gradients are finite (or nobody asked), and the sum of their squares
    // (likewise).
    struct Findings {
        bool finite = true;
        double squares = 0;
    };
    // Makes the gradients that are still to be made.
    Findings complete(const Run<T>& run, const Wishes& wishes) const;
    // The same, without penalties, of what is complete after a phase; and the ranges of the flat buffer that
    // these gradients are.
    void complete_phase(const Run<T>& run, std::size_t phase) const;
    std::vector<std::pair<index_t, index_t>> ranges(std::size_t phase) const;
    // Whether there are penalties.
    bool penalizes() const { return penalized_; }
    // The same of gradients that are complete.
    Findings examine(T* gradients, const Wishes& wishes) const;
    // One update of all parameters, with norms limited and averages, from gradients with that sum of squares.
    void update(Optimizer<T>& optimizer, const T* gradients, double squares) const;

    // Both, with penalties. False, with nothing changed, if a gradient is not finite and `check` asks for
    // that. Gradients that can be used where they are made never get to memory.
    bool complete_and_update(const Run<T>& run, Optimizer<T>& optimizer, bool check) const;

    // examine() and update() of gradients that peers have: each takes its share of the shards, if they share
    // the update.
    Findings examine(T* gradients, const Wishes& wishes, Peers<T>& peers) const;
    void update(Optimizer<T>& optimizer, const T* gradients, double squares, Peers<T>& peers) const;
    // Has each peer send its share of the optimizer's state to all.
    void gather_state(Optimizer<T>& optimizer, Peers<T>& peers) const;

private:
    // A range of a node's parameters that are not frozen. Threads get the same shards in each batch, so that
    // what they read and update stays in their caches.
    struct Shard {
        std::size_t node;
        index_t begin, end;  // in the node's block
        const typename Program<T>::Deferred* deferred;
    };
    // Some of the shards, in succession.
    struct Share {
        std::size_t first, last;
    };
    Share all() const { return {0, shards_.size()}; }
    Share share_of(const Peers<T>& peers, index_t rank) const;
    void fetch(const Peers<T>& peers, T* flat) const;

    void add_shards(std::size_t node);
    void cut_shards(const Shard& range);
    Findings complete(const Run<T>& run, const Wishes& wishes, bool fused) const;
    void complete_shard(const Shard& shard, const Run<T>& run) const;
    void prepare_products(const Run<T>& run, double factor) const;
    void prepare_product(const typename Program<T>::Deferred& product, const Run<T>& run,
                         double factor) const;
    void multiply(const Shard& shard, const Run<T>& run, const Sink<T>& sink) const;
    void sum_groups(const Shard& shard, const Run<T>& run) const;
    template <class Completion>
    Findings look(const Share& share, T* gradients, double work, const Wishes& wishes, double* squares,
                  Completion&& complete_one) const;
    double total(const double* squares) const;
    void add_penalties(const Shard& shard, T* gradients) const;
    bool products_are_finite(const Run<T>& run, const UpdateOptions& options) const;
    bool bound_is_cheap(const Run<T>& run) const;
    static bool adds_gradients(const Optimizer<T>& optimizer);
    T largest_of_rows(const Run<T>& run, const Place& place) const;
    void finish_update(Optimizer<T>& optimizer, const Share& share) const;
    index_t first_of(const Shard& shard) const { return program_.blocks[shard.node].offset + shard.begin; }
    void update_shard(const Shard& shard, const T* gradients, Optimizer<T>& optimizer) const;
    void update_from_product(const Shard& shard, const Run<T>& run, Optimizer<T>& optimizer) const;
    template <class Body>
    void for_each_shard(const Share& share, double work, Body&& body) const;

    const Program<T>& program_;
    Parameters<T>& parameters_;
    std::vector<Shard> ranges_;  // before they were cut
    std::vector<Shard> shards_;
    bool all_deferred_ = true;  // there are no other gradients
    bool penalized_ = false;
    double work_ = 0;  // of the deferred products, for one sample
};

}  // namespace ranvier
