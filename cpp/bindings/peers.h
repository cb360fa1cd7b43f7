// Those who train together, for Python: reached by its functions, or by memory that they share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "../platform/denormals.h"
#include "nn.h"
#include "ranvier/peers.h"
#include "ranvier/shared_ranks.h"
#include "ranvier/trainer.h"
#include "targets.h"
#include "views.h"

namespace ranvier {

// Peers that Python's functions reach by messages.
struct PyMessages {
    index_t rank, size;
    py::function gather, reduce, wait;
};

template <class T>
class Messages final : public Peers<T> {
public:
    explicit Messages(const PyMessages& functions)
        : Peers<T>(functions.rank, functions.size), functions_(functions) {}

    void gather(index_t count, const double* own, double* all) override {
        with_gil([&] {
            const py::object numbers = functions_.gather(py::array_t<double>(count, own));
            index_t there;
            const double* from = samples<double>(numbers, "gather", {count}, there);
            if (there != this->size())
                throw py::value_error("gather: expected numbers of " + std::to_string(this->size()) +
                                      " ranks, got " + std::to_string(there));
            std::copy_n(from, there * count, all);
        });
    }
    void reduce(index_t first, index_t count) override {
        with_gil([&] { functions_.reduce(first, count); });
    }
    void wait() override {
        with_gil([&] { functions_.wait(); });
    }

private:
    template <class Body>
    static void with_gil(Body&& body) {
        const CallersDenormals denormals;
        py::gil_scoped_acquire acquire;
        body();
    }

    const PyMessages& functions_;
};

template <class T>
using OwnedRanks = std::unique_ptr<SharedRanks<T>>;

// Peers on this machine, by memory that they share.
struct PySharedRanks {
    Either<OwnedRanks> any;
    std::vector<py::object> memory;  // lives as long

    PySharedRanks(const PyParameters& parameters, index_t rank, const std::vector<py::object>& segments)
        : memory(segments) {
        std::vector<std::byte*> places;
        const auto ranks = static_cast<index_t>(segments.size());
        if (rank < 0 || rank >= ranks)
            throw py::value_error("rank: expected 0 to " + std::to_string(ranks - 1) + ", got " +
                                  std::to_string(rank));
        std::visit(
            [&](const auto& p) {
                using T = std::remove_reference_t<decltype(*p->values())>;
                for (index_t i = 0; i < ranks; ++i)
                    places.push_back(
                        segment_of(memory[static_cast<std::size_t>(i)], SharedRanks<T>::bytes(i, p->size())));
                any = std::make_unique<SharedRanks<T>>(rank, places, p->size(), &throw_if_interrupted);
            },
            parameters.any);
    }

    static std::byte* segment_of(const py::object& segment, std::size_t least) {
        auto bytes = segment.cast<py::array_t<std::uint8_t, py::array::c_style>>();
        if (bytes.ptr() != segment.ptr() || static_cast<std::size_t>(bytes.size()) < least)
            throw py::value_error("segments: expected arrays of at least " + std::to_string(least) +
                                  " bytes");
        return reinterpret_cast<std::byte*>(bytes.mutable_data());
    }
    double seconds() const {
        return std::visit([](const auto& ranks) { return ranks->seconds(); }, any);
    }
};

// How a training shares each batch with others.
struct PyDataParallel {
    index_t parts, all_parts;
    bool sync_batch_norm;
    std::variant<PyMessages*, PySharedRanks*> ranks;
    py::object owner;  // of these
};

// The same for a training's element type.
template <class T>
struct CheckedDataParallel : DataParallel<T> {
    std::unique_ptr<Messages<T>> messages;

    void share(const PyDataParallel& given) {
        this->parts = given.parts;
        this->all_parts = given.all_parts;
        this->sync_batch_norm = given.sync_batch_norm;
        this->peers = peers_of(given);
    }
    Peers<T>* peers_of(const PyDataParallel& given) {
        if (PyMessages* const* functions = std::get_if<PyMessages*>(&given.ranks)) {
            messages = std::make_unique<Messages<T>>(**functions);
            return messages.get();
        }
        auto* owned = std::get_if<OwnedRanks<T>>(&std::get<PySharedRanks*>(given.ranks)->any);
        if (!owned) throw py::value_error("data_parallel: expected ranks of the trainer's dtype");
        return owned->get();
    }
};

}  // namespace ranvier
