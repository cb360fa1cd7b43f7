#include "inner_products.h"

#include <algorithm>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// Of the depth. Long runs of y are read, and x stays in the second-level cache.
constexpr index_t kBlockBytes = 64 << 10;
// Of y, for several groups of rows of x.
constexpr index_t kCachedBytes = 128 << 10;
// Rows of y that are worth a task.
constexpr index_t kLeastRows = 16;

template <class T>
class InnerProducts {
public:
    InnerProducts(const Matrix<const T>& x, const ContiguousRows<T>& y, const Matrix<T>& c, bool accumulate)
        : x_(x), y_(y), c_(c), accumulate_(accumulate) {}

    void run() const {
        // A vector's worth of multiplications is one unit of work.
        const double depth = static_cast<double>(x_.cols);
        const int threads = threads_for(static_cast<double>(x_.rows * y_.rows) * depth / 6);
        if (threads == 1) return multiply(0, y_.rows);
        const index_t piece = std::max(kLeastRows, ceil_div(y_.rows, 2 * threads));
        if (y_.rows <= piece && x_.cols > kBlock) return share_depth(threads);
        parallel_for(ceil_div(y_.rows, piece), threads,
                     [&](index_t task) { multiply(task * piece, std::min(piece, y_.rows - task * piece)); });
    }

private:
    static constexpr index_t kBlock = kBlockBytes / static_cast<index_t>(sizeof(T));

    void multiply_block(index_t k0, index_t first, index_t rows, T* to, index_t few_stride,
                        index_t many_stride, bool accumulate) const {
        const index_t even = ceil_div(x_.rows, ceil_div(x_.rows, kRowsAtOnce));
        for (index_t i = 0; i < x_.rows; i += even)
            kernels<T>().inner_product->multiply(std::min(even, x_.rows - i), rows,
                                                 std::min(kBlock, x_.cols - k0),
                                                 x_.data + i * x_.row_stride + k0, x_.row_stride,
                                                 y_.data + k0 + (y_.offsets ? 0 : first * y_.stride),
                                                 y_.stride, y_.offsets ? y_.offsets + first : nullptr,
                                                 to + i * few_stride, few_stride, many_stride, accumulate);
    }

    // Some rows of y; of more rows than the kernel takes at once, so many that they wait in a cache for the
    // rest of x.
    void multiply(index_t first, index_t rows) const {
        const index_t row_bytes = std::min(kBlock, x_.cols) * static_cast<index_t>(sizeof(T));
        const index_t most = x_.rows <= kRowsAtOnce ? rows : std::max(kLeastRows, kCachedBytes / row_bytes);
        for (index_t k0 = 0; k0 < x_.cols; k0 += kBlock)
            for (index_t j = first; j < first + rows; j += most)
                multiply_block(k0, j, std::min(most, first + rows - j), c_.data + j * c_.col_stride,
                               c_.row_stride, c_.col_stride, k0 > 0 || accumulate_);
    }

    // Few rows of great depth: each task takes some blocks, and the sums are added in order.
    void share_depth(int threads) const {
        const index_t blocks = ceil_div(x_.cols, kBlock), size = x_.rows * y_.rows;
        Scratch<T> sums(blocks * size);
        const index_t piece = ceil_div(blocks, 2 * threads);
        parallel_for(ceil_div(blocks, piece), threads, [&](index_t task) {
            for (index_t block = task * piece; block < std::min(blocks, (task + 1) * piece); ++block)
                multiply_block(block * kBlock, 0, y_.rows, sums.data() + block * size, y_.rows, 1, false);
        });
        for (index_t i = 0; i < x_.rows; ++i)
            for (index_t j = 0; j < y_.rows; ++j) {
                T& element = c_.data[i * c_.row_stride + j * c_.col_stride];
                const T* sum = sums.data() + i * y_.rows + j;
                T total = accumulate_ ? element + *sum : *sum;
                for (index_t block = 1; block < blocks; ++block) total += sum[block * size];
                element = total;
            }
    }

    const Matrix<const T>& x_;
    const ContiguousRows<T>& y_;
    const Matrix<T>& c_;
    bool accumulate_;
};

}  // namespace

template <class T>
void inner_products(const Matrix<const T>& x, const ContiguousRows<T>& y, const Matrix<T>& c,
                    bool accumulate) {
    if (x.col_stride == 1 || x.cols == 1) return InnerProducts<T>(x, y, c, accumulate).run();
    Scratch<T> copy(x.rows * x.cols);
    for (index_t i = 0; i < x.rows; ++i)
        for (index_t p = 0; p < x.cols; ++p)
            copy.data()[i * x.cols + p] = x.data[i * x.row_stride + p * x.col_stride];
    InnerProducts<T>(row_major<const T>(copy.data(), x.rows, x.cols), y, c, accumulate).run();
}

template void inner_products(const Matrix<const float>&, const ContiguousRows<float>&, const Matrix<float>&,
                             bool);
template void inner_products(const Matrix<const double>&, const ContiguousRows<double>&,
                             const Matrix<double>&, bool);

}  // namespace ranvier
