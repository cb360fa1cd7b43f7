// Sums of errors, from which the mean errors and the coefficient of determination of a regression follow.
#pragma once

#include <algorithm>
#include <cmath>

#include "ranvier/array.h"

namespace ranvier {

// The sums of so many outputs' errors.
template <int COLUMNS, class T>
void add_errors_of(index_t n, index_t outputs, index_t count, const T* prediction, const T* target,
                   double* sums) {
    const double* reference = sums;
    double square[COLUMNS] = {}, size[COLUMNS] = {}, sum[COLUMNS] = {}, sum_of_squares[COLUMNS] = {};
    const index_t columns = COLUMNS == 1 ? 1 : count;
    for (index_t i = 0; i < n; ++i, prediction += outputs, target += outputs)
        for (index_t j = 0; j < columns; ++j) {
            const auto t = static_cast<double>(target[j]);
            const double error = static_cast<double>(prediction[j]) - t, distance = t - reference[j];
            square[j] += error * error;
            size[j] += std::fabs(error);
            sum[j] += distance;
            sum_of_squares[j] += distance * distance;
        }
    for (index_t j = 0; j < columns; ++j) {
        sums[outputs + j] += square[j];
        sums[2 * outputs + j] += size[j];
        sums[3 * outputs + j] += sum[j];
        sums[4 * outputs + j] += sum_of_squares[j];
    }
}

// Adds n samples to the five rows of OutputRecord.
template <class T>
void add_errors(index_t n, index_t outputs, const T* prediction, const T* target, double* sums) {
    constexpr index_t kColumns = 16;  // a cache line of each row is read once
    if (outputs == 1) return add_errors_of<1>(n, 1, 1, prediction, target, sums);
    for (index_t j = 0; j < outputs; j += kColumns)
        add_errors_of<kColumns>(n, outputs, std::min(kColumns, outputs - j), prediction + j, target + j,
                                sums + j);
}

}  // namespace ranvier
