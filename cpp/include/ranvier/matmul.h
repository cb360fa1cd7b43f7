// Dense products: c = a b, with what may be fused behind it, and the sums that a linear layer needs.
#pragma once

#include "ranvier/activation.h"
#include "ranvier/array.h"
#include "ranvier/memory.h"

namespace ranvier {

// What goes with each element of a product, in this order: the sums are added to what c holds (if
// accumulate), then the biases are added, then the activation is taken.
template <class T>
struct Epilogue {
    bool accumulate = false;
    const T* row_bias = nullptr;  // one for each row of c, contiguous
    const T* col_bias = nullptr;  // one for each column of c, contiguous
    Activation activation = Activation::identity;
    T parameter = T{};
};

// c = a b for a of (m, k), b of (k, n), c of (m, n), each with any strides; c must not overlap a or b.
// Every element of c is summed in an order that depends on k alone; it is another one for vectors and few
// rows or columns where a's rows and b's columns are contiguous (docs/architecture.md). k = 0 gives zeros, to
// which the epilogue still applies.
template <class T>
void matmul(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c,
            const Epilogue<T>& epilogue = {});

// A right operand packed once for many products, as the kernels read it. Nothing changes it, so any number of
// threads may multiply by it at once. It serves the instruction set that was in use when it was made.
template <class T>
class PackedMatrix {
public:
    PackedMatrix() = default;
    explicit PackedMatrix(const Matrix<const T>& b) { pack(b); }
    // A matrix of any strides in the place of what was there; its memory serves again. Keeps no reference to
    // b.
    void pack(const Matrix<const T>& b);

    index_t rows() const { return rows_; }
    index_t cols() const { return cols_; }
    bool empty() const { return rows_ == 0 || cols_ == 0; }

    // Panels as wide as the kernels' tile: panels()[panel][row][column], the last one filled up with zeros. A
    // single column is a panel by itself. Throws std::logic_error if another instruction set is in use.
    const T* panels() const;
    index_t panel_cols() const { return panel_cols_; }
    index_t panel_stride() const { return rows_ * panel_cols_; }

private:
    index_t rows_ = 0, cols_ = 0, panel_cols_ = 0;
    const void* kernels_ = nullptr;  // that it is packed for
    Buffer<T> panels_;
};

// c = a b, to the bit what it is for the same b whose rows are contiguous. c has unit column stride.
template <class T>
void matmul(const Matrix<const T>& a, const PackedMatrix<T>& b, const Matrix<T>& c,
            const Epilogue<T>& epilogue = {});

// A matrix whose rows lie apart, as those of a shuffled batch in its table: row i begins at data +
// offsets[i].
template <class T>
struct ScatteredRows {
    const T* data = nullptr;
    const index_t* offsets = nullptr;
    index_t rows = 0;
    index_t cols = 0;
};

// c = a b and c = a' b, to the bit what they are for the same rows side by side. b and c have unit column
// stride. For what fits the second-level cache: a is read where it lies.
template <class T>
void matmul(const ScatteredRows<T>& a, const Matrix<const T>& b, const Matrix<T>& c,
            const Epilogue<T>& epilogue = {});
template <class T>
void matmul_transposed(const ScatteredRows<T>& a, const Matrix<const T>& b, const Matrix<T>& c,
                       const Epilogue<T>& epilogue = {});
template <class T>
void matmul_transposed(const ScatteredRows<T>& a, const PackedMatrix<T>& b, const Matrix<T>& c,
                       const Epilogue<T>& epilogue = {});

// sums[j] = sum over i of a[i, j], in an order that depends on the number of rows and on the strides alone.
template <class T>
void column_sums(const Matrix<const T>& a, T* sums);
// The same, added to what sums[j] holds.
template <class T>
void add_column_sums(const Matrix<const T>& a, T* sums);

}  // namespace ranvier
