// What each instruction set provides for losses: those of one row, and those of a vector of samples at once,
// whose rows are too short to fill vectors.
#pragma once

#include "ranvier/array.h"

namespace ranvier {

// The formulas that losses are made of, each with its slope at p, for the target t of the same output.
enum class LossForm {
    squares,        // sum_j (p - t)^2, with the slope p - t, which is half of it
    binary,         // sum_j -t log p - (1 - t) log(1 - p), with logarithms cut at -100
    logits,         // the same of sigmoid(p), -t log p being multiplied by 1 + factors.outputs[j]
    margin,         // sum_j max(0, 1 - t p)
    wrong_classes,  // sum_j max(0, 1 - p_own + p_j) over the j of which t is not 1; own is that of which it
                    // is
    cross_entropy,  // -sum_j share_j log softmax(p)_j; share = (keep t + even) factors.outputs[j]
    pinball,        // sum_j max(q (t - p), (q - 1) (t - p)), q = 1/2 + factors.outputs[j]
    huber,  // sum_j of (p - t)^2 / 2 up to a distance of d, of d (|p - t| - d / 2) beyond; d = parameter
    log_likelihood,  // -sum_j factors.outputs[j] t p
    focal,           // sum_j (keep t + even) (1 - s)^parameter times logits' term, s = t sigmoid(p) + (1 - t)
                     // sigmoid(-p)
    poisson_log,     // sum_j exp(p) - t p
    poisson          // sum_j p - t log(p + parameter)
};
inline constexpr int kLossFormCount = 12;

// What a form's terms are made with, the same for all samples. Without `outputs`, all of them are 1 for
// cross_entropy, and 0 for others.
template <class T>
struct LossFactors {
    const T* outputs = nullptr;
    T keep = 1, even = 0, parameter = 0;
};

// The lanes of the widest vector.
template <class T>
inline constexpr index_t kMostLanes = 64 / static_cast<index_t>(sizeof(T));

template <class T>
struct LossKernels {
    // The loss of n >= 1 outputs, summed in double; grad, unless it is nullptr, gets `scale` times the
    // slopes. `own` is the number of the right class; only wrong_classes and cross_entropy ask for it. t may
    // be nullptr for wrong_classes, and for cross_entropy if `even` is zero: then the target is 1 for the
    // right class. grad may be p.
    using Row = double (*)(const LossFactors<T>& factors, index_t n, const T* p, const T* t, index_t own,
                           T scale, T* grad);
    // The same of one vector of samples. Output j of sample `lane` lies at j * lanes + lane; each sample has
    // its scale and its loss.
    using Columns = void (*)(const LossFactors<T>& factors, index_t n, const T* p, const T* t,
                             const T* scales, T* grad, double* losses);

    Row row[kLossFormCount];  // indexed by LossForm
    Columns columns[kLossFormCount];

    // The first of the greatest elements, which are passed over where they are NaN; 0 if the first is one.
    index_t (*largest)(index_t n, const T* row);
    // For each of a vector of samples, whether p and t have their largest element in the same place; if there
    // is only one element, whether p is above the threshold where t is above 1/2, and not elsewhere.
    void (*hit_columns)(index_t n, const T* p, const T* t, T threshold, bool* hits);
    // Of n samples, for some of their outputs: adds to `sums` of the first of these what ranvier/loss.h says.
    void (*add_errors)(index_t n, index_t outputs, index_t columns, const T* p, const T* t, double* sums);
};

}  // namespace ranvier
