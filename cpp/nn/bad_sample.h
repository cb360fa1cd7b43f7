// A sample that an op cannot take.
#pragma once

#include <stdexcept>
#include <string>

#include "ranvier/array.h"

namespace ranvier {

// Thrown by ops, with the sample's position in the batch at hand. Whoever knows where the batch is from tells
// the user the sample's number there.
class BadSample : public std::invalid_argument {
public:
    BadSample(index_t sample, const std::string& why) : std::invalid_argument(why), position(sample) {}

    const index_t position;
};

// body(), which takes a batch through a network; number(position) is a sample's number in what was given.
template <class Number, class Body>
void naming_bad_samples(Number&& number, Body&& body) {
    try {
        body();
    } catch (const BadSample& bad) {
        throw std::invalid_argument(std::string(bad.what()) + " in sample " +
                                    std::to_string(number(bad.position)));
    }
}

}  // namespace ranvier
