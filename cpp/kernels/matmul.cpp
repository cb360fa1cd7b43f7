// Matrix products: which way each one goes, and how it is shared among threads.
//
// Every way but that of inner_products.h adds in one order (docs/architecture.md): the depth is cut by
// depth_block(), a block is summed from zero in sequence, and the blocks' sums are added to c in order.
#include "ranvier/matmul.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <utility>

#include "../platform/denormals.h"
#include "inner_products.h"
#include "kernel_table.h"
#include "ranvier/cpu.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

// Of a packed depth block: rows of A that stay in the second-level cache, and columns of B with which
// they meet in one task.
constexpr index_t kBlockRows = 192;
constexpr index_t kBlockCols = 128;
// Bounds on what is packed at once, for the third-level cache.
constexpr index_t kPackedRows = 4096;
constexpr index_t kPackedCols = 4096;
// From this depth on inner products of several rows with several columns are worth the sums of their lanes.
constexpr index_t kLeastDepth = 64;
// An operand up to this many bytes is read fast enough where it lies; and so are contiguous rows of A that
// meet up to so many panels of B.
constexpr index_t kUnpackedBytes = 512 << 10;
constexpr index_t kUnpackedTiles = 8;

// Of a larger one, few rows at a time are read along memory; their sums take so many bytes. For strip_rows of
// GemmKernels an operand of more than these bytes is a larger one.
constexpr index_t kStrip = 24;  // steps of 6 and of 8 go into it
constexpr index_t kStripBytes = 64 << 10;

// What a task brings home of a c that was computed elsewhere.
constexpr index_t kScatteredElements = 8192;

// What threads_for() counts for an element that is packed: weights were written by other processors just now.
constexpr double kPackCost = 4;

// What threads_for() counts as elementary operations: a vector's worth of multiplications, or of elements of
// the operands, which are what few rows or columns wait for.
double work_of(index_t m, index_t n, index_t k) {
    const double rows = static_cast<double>(m), cols = static_cast<double>(n);
    return static_cast<double>(k) * (rows * cols + rows + cols) / 6;
}

template <class T>
struct Product {
    Matrix<const T> a, b;
    Matrix<T> c;  // unit column stride
    Epilogue<T> epilogue;
    // If not nullptr, row i of A, or column p of A, begins at a.data + offsets[i or p]; its strides say
    // nothing.
    const index_t* a_row_offsets = nullptr;
    const index_t* a_column_offsets = nullptr;
    // If not 0, B is packed: from one of its panels to the next.
    index_t b_panel_stride = 0;

    index_t m() const { return c.rows; }
    index_t n() const { return c.cols; }
    index_t k() const { return a.cols; }
    // Where B's row k0 has column j0, the first of a panel if B is packed.
    const T* b_at(index_t k0, index_t j0) const {
        return b.data + k0 * b.row_stride +
               (b_panel_stride ? j0 / b.row_stride * b_panel_stride : j0 * b.col_stride);
    }
};

// Biases and activation of a block of c whose sums are complete.
template <class T>
void finish(const Product<T>& product, index_t i0, index_t j0, index_t rows, index_t cols) {
    const Epilogue<T>& e = product.epilogue;
    if (!e.row_bias && !e.col_bias && e.activation == Activation::identity) return;
    const auto& gemm = *kernels<T>().gemm;
    const auto activate = kernels<T>().elementwise->activation[static_cast<int>(e.activation)];
    for (index_t i = i0; i < i0 + rows; ++i) {
        T* row = product.c.data + i * product.c.row_stride + j0;
        if (e.row_bias) gemm.add_scalar(cols, e.row_bias[i], row);
        if (e.col_bias) gemm.add_row(cols, e.col_bias + j0, row);
        if (e.activation != Activation::identity) activate(cols, row, row, e.parameter);
    }
}

// c for k = 0, before the epilogue.
template <class T>
void clear(const Product<T>& product) {
    for (index_t i = 0; i < product.m(); ++i)
        std::fill_n(product.c.data + i * product.c.row_stride, product.n(), T{});
}

// Whether few rows of c meet a B that is too large for the second-level cache, or very few one that is too
// large for the first-level cache.
template <class T>
bool is_for_strips(const Product<T>& p, index_t rows, index_t cols) {
    const auto& gemm = *kernels<T>().gemm;
    if (p.b_panel_stride || p.a_row_offsets || p.a_column_offsets || rows > 2 * gemm.tile_rows) return false;
    const index_t bytes = p.k() * cols * static_cast<index_t>(sizeof(T));
    const index_t most = rows <= gemm.strip_rows ? kStripBytes : kUnpackedBytes;
    return cols > 8 * gemm.tile_cols && bytes > most;
}

// These: some rows of B at a time, from one end to the other, so that memory is read as it lies. The sums
// wait in a cache.
template <class T>
void block_in_strips(const Product<T>& p, index_t i0, index_t j0, index_t rows, index_t cols) {
    const auto& gemm = *kernels<T>().gemm;
    const index_t length = depth_block<T>(p.k());
    const index_t most =
        round_up(ceil_div(kStripBytes / static_cast<index_t>(sizeof(T)), rows), gemm.tile_cols);
    const index_t width = std::min(cols, most);
    Scratch<T> memory(p.k() > length || p.epilogue.accumulate ? rows * width : 0);
    for (index_t j = j0; j < j0 + cols; j += width) {
        const index_t now = std::min(width, j0 + cols - j);
        T* c = p.c.data + i0 * p.c.row_stride + j;
        for (index_t k0 = 0; k0 < p.k(); k0 += length) {
            const index_t depth = std::min(length, p.k() - k0);
            const bool direct = k0 == 0 && !p.epilogue.accumulate;
            T* sums = direct ? c : memory.data();
            const index_t stride = direct ? p.c.row_stride : width;
            for (index_t k = k0; k < k0 + depth; k += kStrip)
                gemm.multiply_strip(rows, now, std::min(kStrip, k0 + depth - k),
                                    p.a.data + i0 * p.a.row_stride + k * p.a.col_stride, p.a.row_stride,
                                    p.a.col_stride, p.b_at(k, j), p.b.row_stride, sums, stride, k > k0);
            if (!direct)
                for (index_t i = 0; i < rows; ++i)
                    gemm.add_row(now, sums + i * stride, c + i * p.c.row_stride);
        }
    }
    finish(p, i0, j0, rows, cols);
}

// One block of c straight from the operands where they lie, B as it is or packed before.
template <class T>
void block_unpacked(const Product<T>& p, index_t i0, index_t j0, index_t rows, index_t cols) {
    const auto& gemm = *kernels<T>().gemm;
    if (is_for_strips(p, rows, cols)) return block_in_strips(p, i0, j0, rows, cols);
    const index_t length = depth_block<T>(p.k());
    T* c = p.c.data + i0 * p.c.row_stride + j0;
    if (rows == 1 && p.k() > length && p.a.col_stride == 1 && !p.a_row_offsets && !p.a_column_offsets) {
        gemm.multiply_row(cols, p.k(), length, p.a.data + i0 * p.a.row_stride, p.b_at(0, j0), p.b.row_stride,
                          p.b_panel_stride ? p.b_panel_stride : gemm.tile_cols, c, p.epilogue.accumulate);
        return finish(p, i0, j0, rows, cols);
    }
    for (index_t k0 = 0; k0 < p.k(); k0 += length) {
        const index_t depth = std::min(length, p.k() - k0);
        const T* b = p.b_at(k0, j0);
        const bool accumulate = k0 > 0 || p.epilogue.accumulate;
        if (p.a_row_offsets)
            gemm.multiply_a_rows_apart(rows, cols, depth, p.a.data + k0, p.a_row_offsets + i0, b,
                                       p.b.row_stride, c, p.c.row_stride, accumulate);
        else if (p.a_column_offsets)
            gemm.multiply_a_columns_apart(rows, cols, depth, p.a.data + i0, p.a_column_offsets + k0, b,
                                          p.b.row_stride, c, p.c.row_stride, accumulate);
        else if (p.b_panel_stride)
            gemm.multiply_packed_b(rows, cols, depth, p.a.data + i0 * p.a.row_stride + k0 * p.a.col_stride,
                                   p.a.row_stride, p.a.col_stride, b, p.b_panel_stride, c, p.c.row_stride,
                                   accumulate);
        else
            gemm.multiply_unpacked(rows, cols, depth, p.a.data + i0 * p.a.row_stride + k0 * p.a.col_stride,
                                   p.a.row_stride, p.a.col_stride, b, p.b.row_stride, c, p.c.row_stride,
                                   accumulate);
    }
    finish(p, i0, j0, rows, cols);
}

// Cuts c into blocks along its longer side: columns in whole tiles, rows evenly, since tiles of fewer rows
// lose little.
template <class T>
void multiply_in_place(const Product<T>& p) {
    const auto& gemm = *kernels<T>().gemm;
    const int threads = threads_for(work_of(p.m(), p.n(), p.k()));
    if (threads == 1) return block_unpacked(p, 0, 0, p.m(), p.n());
    const bool by_rows = p.m() >= p.n();
    const index_t whole = by_rows ? p.m() : p.n();
    // Strips want long rows, so each thread has one piece of them.
    const index_t even = ceil_div(whole, is_for_strips(p, p.m(), p.n()) ? threads : 2 * threads);
    const index_t piece = by_rows ? even : round_up(even, gemm.tile_cols);
    parallel_for(ceil_div(whole, piece), threads, [&](index_t task) {
        const index_t from = task * piece, size = std::min(piece, whole - from);
        if (by_rows)
            block_unpacked(p, from, index_t{0}, size, p.n());
        else
            block_unpacked(p, index_t{0}, from, p.m(), size);
    });
}

// Columns of B in one block of the depth.
template <class T>
void pack_columns(const Product<T>& p, index_t k0, index_t j0, index_t cols, T* packed) {
    const index_t depth = std::min(depth_block<T>(p.k()), p.k() - k0);
    kernels<T>().gemm->pack_b(depth, cols, p.b_at(k0, j0), p.b.row_stride, p.b.col_stride, packed);
}

// Rows of c by such columns.
template <class T>
void multiply_rows(const Product<T>& p, index_t k0, index_t i0, index_t rows, index_t j0, index_t cols,
                   const T* packed) {
    const index_t depth = std::min(depth_block<T>(p.k()), p.k() - k0);
    const auto& gemm = *kernels<T>().gemm;
    gemm.multiply_packed_b(rows, cols, depth, p.a.data + i0 * p.a.row_stride + k0 * p.a.col_stride,
                           p.a.row_stride, p.a.col_stride, packed, depth * gemm.tile_cols,
                           p.c.data + i0 * p.c.row_stride + j0, p.c.row_stride,
                           k0 > 0 || p.epilogue.accumulate);
}

// B packed, A where it lies, for few rows or a B whose columns are not contiguous. Each task packs its own
// columns.
template <class T>
void multiply_packing_b(const Product<T>& p) {
    const auto& gemm = *kernels<T>().gemm;
    const int threads = threads_for(work_of(p.m(), p.n(), p.k()));
    const index_t length = depth_block<T>(p.k());
    const index_t piece = threads == 1
                              ? kBlockCols
                              : std::min(kBlockCols, round_up(ceil_div(p.n(), 2 * threads), gemm.tile_cols));
    parallel_for(ceil_div(p.n(), piece), threads, [&](index_t task) {
        const index_t j0 = task * piece, cols = std::min(piece, p.n() - j0);
        Scratch<T> packed(length * round_up(cols, gemm.tile_cols));
        for (index_t k0 = 0; k0 < p.k(); k0 += length) {
            pack_columns(p, k0, j0, cols, packed.data());
            multiply_rows(p, k0, index_t{0}, p.m(), j0, cols, packed.data());
        }
        finish(p, index_t{0}, j0, p.m(), cols);
    });
}

// A region of c no larger than kPackedRows x kPackedCols, both operands packed, block of depth by block; but
// not A if it is read as fast where it lies, nor B if it was packed before.
template <class T>
class PackedProduct {
public:
    PackedProduct(const Product<T>& product, index_t i0, index_t j0, index_t rows, index_t cols, int threads)
        : p_(product), i0_(i0), j0_(j0), rows_(rows), cols_(cols), threads_(threads) {
        // As many blocks for each thread, so that none is left idle.
        const index_t blocks = round_up(ceil_div(rows, kBlockRows), threads);
        block_rows_ = round_up(ceil_div(rows, blocks), gemm_.tile_rows);
        block_cols_ = round_up(std::min(kBlockCols, cols), gemm_.tile_cols);
        row_blocks_ = ceil_div(rows, block_rows_);
        col_blocks_ = ceil_div(cols, block_cols_);
        packs_a_ = std::abs(product.a.col_stride) != 1 || product.n() > kUnpackedTiles * gemm_.tile_cols;
    }

    void run() {
        const index_t length = depth_block<T>(p_.k());
        const index_t a_blocks = packs_a_ ? row_blocks_ : 0, b_blocks = p_.b_panel_stride ? 0 : col_blocks_;
        Scratch<T> packed_a(a_blocks * block_rows_ * length), packed_b(b_blocks * block_cols_ * length);
        for (index_t k0 = 0; k0 < p_.k(); k0 += length) {
            const index_t depth = std::min(length, p_.k() - k0);
            parallel_for(a_blocks + b_blocks, threads_, [&](index_t task) {
                if (task < a_blocks)
                    pack_a(task, k0, depth, packed_a.data());
                else
                    pack_b(task - a_blocks, k0, depth, packed_b.data());
            });
            parallel_for(row_blocks_ * col_blocks_, threads_, [&](index_t task) {
                multiply(task % row_blocks_, task / row_blocks_, k0, depth, packed_a.data(), packed_b.data());
            });
        }
    }

private:
    void pack_a(index_t block, index_t k0, index_t depth, T* packed) const {
        const index_t i = block * block_rows_, rows = std::min(block_rows_, rows_ - i);
        const T* a = p_.a.data + (i0_ + i) * p_.a.row_stride + k0 * p_.a.col_stride;
        if (p_.a_column_offsets)
            gemm_.pack_a_columns_apart(rows, depth, a, p_.a_column_offsets + k0, packed + i * depth);
        else
            gemm_.pack_a(rows, depth, a, p_.a.row_stride, p_.a.col_stride, packed + i * depth);
    }

    void pack_b(index_t block, index_t k0, index_t depth, T* packed) const {
        const index_t j = block * block_cols_;
        gemm_.pack_b(depth, std::min(block_cols_, cols_ - j), p_.b_at(k0, j0_ + j), p_.b.row_stride,
                     p_.b.col_stride, packed + j * depth);
    }

    void multiply(index_t row_block, index_t col_block, index_t k0, index_t depth, const T* packed_a,
                  const T* packed_b) const {
        const index_t i = row_block * block_rows_, j = col_block * block_cols_;
        const index_t rows = std::min(block_rows_, rows_ - i), cols = std::min(block_cols_, cols_ - j);
        const T* b = p_.b_panel_stride ? p_.b_at(k0, j0_ + j) : packed_b + j * depth;
        const index_t b_stride = p_.b_panel_stride ? p_.b_panel_stride : depth * gemm_.tile_cols;
        T* c = p_.c.data + (i0_ + i) * p_.c.row_stride + j0_ + j;
        const bool accumulate = k0 > 0 || p_.epilogue.accumulate;
        if (packs_a_)
            gemm_.multiply_packed(rows, cols, depth, packed_a + i * depth, b, b_stride, c, p_.c.row_stride,
                                  accumulate);
        else
            gemm_.multiply_packed_b(
                rows, cols, depth, p_.a.data + (i0_ + i) * p_.a.row_stride + k0 * p_.a.col_stride,
                p_.a.row_stride, p_.a.col_stride, b, b_stride, c, p_.c.row_stride, accumulate);
        if (k0 + depth == p_.k()) finish(p_, i0_ + i, j0_ + j, rows, cols);
    }

    const Product<T>& p_;
    const GemmKernels<T>& gemm_ = *kernels<T>().gemm;
    index_t i0_, j0_, rows_, cols_;
    int threads_;
    bool packs_a_;
    index_t block_rows_, block_cols_, row_blocks_, col_blocks_;
};

template <class T>
void multiply_packing_both(const Product<T>& p) {
    const int threads = threads_for(work_of(p.m(), p.n(), p.k()));
    for (index_t j = 0; j < p.n(); j += kPackedCols)
        for (index_t i = 0; i < p.m(); i += kPackedRows)
            PackedProduct<T>(p, i, j, std::min(kPackedRows, p.m() - i), std::min(kPackedCols, p.n() - j),
                             threads)
                .run();
}

// Few columns of B packed once, for all rows.
template <class T>
void multiply_packing_few_columns(const Product<T>& p) {
    const auto& gemm = *kernels<T>().gemm;
    Scratch<T> packed(p.k() * round_up(p.n(), gemm.tile_cols));
    gemm.pack_b(p.k(), p.n(), p.b.data, p.b.row_stride, p.b.col_stride, packed.data());
    Product<T> by_packed = p;
    by_packed.b = {packed.data(), p.k(), p.n(), gemm.tile_cols, 1};
    by_packed.b_panel_stride = p.k() * gemm.tile_cols;
    multiply_in_place(by_packed);
}

template <class T>
void multiply(const Product<T>& p);

// c from the products of the blocks of the depth.
template <class T>
void add_blocks(const Product<T>& p, index_t blocks, const T* products, index_t size) {
    for (index_t i = 0; i < p.m(); ++i) {
        T* row = p.c.data + i * p.c.row_stride;
        index_t block = 0;
        if (!p.epilogue.accumulate) std::copy_n(products + block++ * size + i * p.n(), p.n(), row);
        for (; block < blocks; ++block)
            kernels<T>().gemm->add_row(p.n(), products + block * size + i * p.n(), row);
    }
    finish(p, index_t{0}, index_t{0}, p.m(), p.n());
}

// A small c of great depth: each block of the depth is a product of its own, on any thread, and their
// sums are added in order.
template <class T>
void multiply_by_depth(const Product<T>& p, int threads) {
    const index_t length = depth_block<T>(p.k()), blocks = ceil_div(p.k(), length);
    const index_t size = p.m() * p.n();
    Scratch<T> sums(blocks * size);
    parallel_for(blocks, threads, [&](index_t block) {
        const index_t k0 = block * length, depth = std::min(length, p.k() - k0);
        Product<T> part = p;
        part.a.data += k0 * p.a.col_stride;
        if (p.a_column_offsets) part.a_column_offsets += k0;
        part.a.cols = depth;
        part.b.data += k0 * p.b.row_stride;
        part.b.rows = depth;
        part.c = row_major(sums.data() + block * size, p.m(), p.n());
        part.epilogue = {};
        multiply(part);
    });
    add_blocks(p, blocks, sums.data(), size);
}

// c' = b' a': the same sums, for x * y is y * x to the bit.
template <class T>
Product<T> transposed(const Product<T>& p) {
    Product<T> t = {transposed(p.b), transposed(p.a), transposed(p.c), p.epilogue};
    std::swap(t.epilogue.row_bias, t.epilogue.col_bias);
    return t;
}

// Few rows or columns of c where both operands are contiguous along the depth (docs/architecture.md says what
// the order of additions is then). False if p is no such product.
template <class T>
bool multiply_as_inner_products(const Product<T>& p) {
    if (p.b_panel_stride || p.a_column_offsets) return false;
    const bool columns_contiguous = p.b.row_stride == 1 && (p.b.col_stride != 1 || p.n() == 1);
    if (p.a_row_offsets ? p.n() > 1 : !columns_contiguous) return false;
    if (p.m() > 1 && p.n() > 1 && p.k() < kLeastDepth) return false;
    const bool few_cols = p.n() <= kFewRows && (p.a_row_offsets || p.a.col_stride == 1);
    if (few_cols && p.n() <= p.m())
        inner_products(transposed(p.b), {p.a.data, p.m(), p.a.row_stride, p.a_row_offsets}, transposed(p.c),
                       p.epilogue.accumulate);
    else if (p.m() <= kFewRows)
        inner_products(p.a, {p.b.data, p.n(), p.b.col_stride}, p.c, p.epilogue.accumulate);
    else
        return false;
    if (p.n() == 1 && p.c.row_stride == 1)
        finish(transposed(p), index_t{0}, index_t{0}, index_t{1}, p.m());
    else
        finish(p, index_t{0}, index_t{0}, p.m(), p.n());
    return true;
}

template <class T>
void multiply(const Product<T>& p) {
    const auto& gemm = *kernels<T>().gemm;
    if (p.k() == 0) {
        if (!p.epilogue.accumulate) clear(p);
        return finish(p, index_t{0}, index_t{0}, p.m(), p.n());
    }
    if (multiply_as_inner_products(p)) return;
    const int threads = threads_for(work_of(p.m(), p.n(), p.k()));
    const index_t tiles = ceil_div(p.m(), gemm.tile_rows) * ceil_div(p.n(), gemm.tile_cols);
    const index_t blocks = ceil_div(p.k(), depth_block<T>(p.k()));
    // A single row in strips is read in whole rows of B if the blocks of the depth are shared out evenly.
    const bool strips =
        p.m() == 1 && blocks % threads == 0 && p.b.col_stride == 1 && is_for_strips(p, 1, p.n());
    if (threads > 1 && (strips || (tiles < 8 * threads && blocks > 2) || (tiles < threads && blocks > 1)))
        return multiply_by_depth(p, threads);
    if (p.b_panel_stride) {
        // Nothing is gained by packing a block of rows, but if they lie side by side.
        const bool few = p.n() <= 2 * gemm.tile_cols || (p.m() <= kBlockRows && p.a.col_stride == 1);
        return few && !p.a_column_offsets ? multiply_in_place(p) : multiply_packing_both(p);
    }
    if (p.a_row_offsets || p.a_column_offsets) return multiply_in_place(p);
    const index_t size = sizeof(T);
    const bool b_rows_contiguous = p.b.col_stride == 1;
    const bool few_rows = p.m() <= 2 * gemm.tile_rows;
    const bool small_b = p.k() * p.n() * size <= kUnpackedBytes;
    const bool small = small_b && p.m() * p.k() * size <= kUnpackedBytes;
    const bool few_cols = small_b && p.n() <= 2 * gemm.tile_cols;  // so A is read once or twice only
    // Columns of A, which each tile of c's columns would read across a line of the cache for each element.
    const bool a_apart = p.a.col_stride != 1 && p.k() >= 2 * kLeastDepth && p.n() > 4 * gemm.tile_cols;
    if (b_rows_contiguous && ((small && !a_apart) || few_rows || few_cols)) return multiply_in_place(p);
    if (small && a_apart && !few_rows) return multiply_packing_both(p);
    if (few_cols && p.m() > kBlockRows) return multiply_packing_few_columns(p);
    // One block of rows: nothing is gained by packing A, and each thread can pack its own columns of B.
    if (small || p.m() <= kBlockRows) return multiply_packing_b(p);
    multiply_packing_both(p);
}

template <class T>
Product<T> packed_product(const Matrix<const T>& a, const PackedMatrix<T>& b, const Matrix<T>& c,
                          const Epilogue<T>& epilogue) {
    Product<T> p = {a, {b.panels(), b.rows(), b.cols(), b.panel_cols(), 1}, c, epilogue};
    if (b.cols() > 1) p.b_panel_stride = b.panel_stride();
    return p;
}

// n elements without gaps: those that lie so, or a copy in `memory`.
template <class T>
const T* contiguous(const T* data, index_t n, index_t stride, std::optional<Scratch<T>>& memory) {
    if (stride == 1 || n <= 1) return data;
    T* copy = memory.emplace(n).data();
    kernels<T>().plane->gather_box({{1, 1, n}, {0, 0, stride}}, data, copy);
    return copy;
}

// Whether neither the rows nor the columns are contiguous, so that no vector can be loaded.
template <class T>
bool has_gaps(const Matrix<const T>& m) {
    const bool row_has = m.cols > 1 && m.col_stride != 1, col_has = m.rows > 1 && m.row_stride != 1;
    return (row_has || m.cols == 1) && (col_has || m.rows == 1) && (row_has || col_has);
}

// A copy in `memory` whose rows are contiguous, or its columns if those have the smaller gaps.
template <class T>
Matrix<const T> without_gaps(const Matrix<const T>& m, Scratch<T>& memory) {
    if (m.cols == 1 || (m.rows > 1 && std::abs(m.row_stride) < std::abs(m.col_stride)))
        return transposed(without_gaps(transposed(m), memory));
    const index_t most = std::max<index_t>(1, kScatteredElements / m.cols);
    parallel_for(ceil_div(m.rows, most), threads_for(static_cast<double>(m.rows * m.cols)),
                 [&](index_t task) {
                     const index_t i = task * most, rows = std::min(most, m.rows - i);
                     kernels<T>().plane->gather_box({{1, rows, m.cols}, {0, m.row_stride, m.col_stride}},
                                                    m.data + i * m.row_stride, memory.data() + i * m.cols);
                 });
    return row_major<const T>(memory.data(), m.rows, m.cols);
}

// One row by a matrix or a column; c is contiguous.
template <class T>
void multiply_row(const Product<T>& p) {
    if (p.a.col_stride == 1 && (p.n() > 1 || p.b.row_stride == 1)) return multiply(p);
    std::optional<Scratch<T>> row, column;
    Product<T> copied = p;
    copied.a = row_major(contiguous(p.a.data, p.k(), p.a.col_stride, row), 1, p.k());
    if (p.n() == 1) copied.b = {contiguous(p.b.data, p.k(), p.b.row_stride, column), p.k(), 1, 1, 1};
    multiply(copied);
}

template <class T>
void multiply_scattering(const Product<T>& p);

// The rows of a matrix in reverse order.
template <class M>
M reversed_rows(M m) {
    m.data += (m.rows - 1) * m.row_stride;
    m.row_stride = -m.row_stride;
    return m;
}

template <class M>
M reversed_columns(const M& m) {
    return transposed(reversed_rows(transposed(m)));
}

// A small product of rows that are contiguous, for which the choice among all ways would take as long as the
// product itself.
template <class T>
bool is_tiny(const Product<T>& p) {
    constexpr index_t kMost = 4096;  // multiplications
    const index_t m = p.m(), n = p.n(), k = p.k();
    return p.b.col_stride == 1 && p.c.col_stride == 1 && n > 1 && k > 0 && m <= kMost && n <= kMost &&
           k <= kMost && m * n * k <= kMost && k <= depth_block<T>(k);
}

template <class T>
void multiply_tiny(const Product<T>& p) {
    kernels<T>().gemm->multiply_unpacked(p.m(), p.n(), p.k(), p.a.data, p.a.row_stride, p.a.col_stride,
                                         p.b.data, p.b.row_stride, p.c.data, p.c.row_stride,
                                         p.epilogue.accumulate);
    finish(p, index_t{0}, index_t{0}, p.m(), p.n());
}

// A column by a row with few products, wherever they and c lie.
template <class T>
bool is_tiny_outer(const Product<T>& p) {
    constexpr index_t kMost = 64;
    const Epilogue<T>& e = p.epilogue;
    return p.k() == 1 && p.m() <= kMost && p.n() <= kMost && p.m() * p.n() <= kMost && !e.row_bias &&
           !e.col_bias && e.activation == Activation::identity;
}

template <class T>
void multiply_tiny_outer(const Product<T>& p) {
    for (index_t i = 0; i < p.m(); ++i) {
        const T factor = p.a.data[i * p.a.row_stride];
        T* c = p.c.data + i * p.c.row_stride;
        for (index_t j = 0; j < p.n(); ++j, c += p.c.col_stride) {
            const T sum = T{} + factor * p.b.data[j * p.b.col_stride];  // never minus zero, as elsewhere
            *c = p.epilogue.accumulate ? *c + sum : sum;
        }
    }
}

// Whether the columns of c fill a small part of a vector, which as rows they would fill, since those of A are
// contiguous, perhaps from the last to the first. (If those of c are, too, it is transposed anyway.)
template <class T>
bool is_better_transposed(const Product<T>& p) {
    const bool narrow = 4 * p.n() <= kernels<T>().gemm->tile_cols && p.m() >= 4 * kFewRows && p.k() >= 16;
    const bool falls = p.a.row_stride == -1 && !p.epilogue.row_bias;
    return narrow && (p.a.row_stride == 1 || falls) && p.a.col_stride != 1 && p.c.row_stride != 1;
}

// The same product with the rows of A in rising order.
template <class T>
Product<T> with_rising_rows(Product<T> p) {
    if (p.a.row_stride >= 0) return p;
    p.a = reversed_rows(p.a);
    p.c = reversed_rows(p.c);
    return p;
}

// Whether it is better to write c from the last column to the first than to pack a B that lies so.
template <class T>
bool is_better_with_columns_reversed(const Product<T>& p) {
    const bool packed = p.b.col_stride == -1 && !(p.c.row_stride == 1 && p.m() > 1);
    return packed && p.m() < p.k() && !p.epilogue.col_bias && !p.b_panel_stride;
}

// c of any strides. A column is computed as a row; falling strides are made rising ones, where no bias is
// tied to the rows or columns.
template <class T>
void multiply_any(const Product<T>& p) {
    if (p.c.row_stride < 0 && !p.epilogue.row_bias) {
        Product<T> turned = p;
        turned.a = reversed_rows(p.a);
        turned.c = reversed_rows(p.c);
        return multiply_any(turned);
    }
    // But columns of B that lie side by side would be so no more.
    const bool loses = p.b.col_stride == 1 && p.m() <= p.k();
    if (p.c.col_stride < 0 && !p.epilogue.col_bias && !p.b_panel_stride && !loses)
        return multiply_any(transposed(p));
    if (is_better_with_columns_reversed(p)) {
        Product<T> turned = p;
        turned.b = reversed_columns(p.b);
        turned.c = reversed_columns(p.c);
        return multiply_any(turned);
    }
    if (p.n() == 1 && p.m() > 1) return multiply_any(transposed(p));
    if (p.m() == 1 && (p.n() == 1 || p.c.col_stride == 1)) return multiply_row(p);
    if (is_better_transposed(p)) return multiply_scattering(transposed(with_rising_rows(p)));
    if (is_better_transposed(transposed(p)))
        return multiply_scattering(transposed(with_rising_rows(transposed(p))));
    if (p.m() > 1 && p.c.col_stride == 1) return multiply(p);
    if (p.m() > 1 && p.c.row_stride == 1) return multiply(transposed(p));
    multiply_scattering(p);
}

// c of any strides, by way of a contiguous one.
template <class T>
void multiply_scattering(const Product<T>& p) {
    Scratch<T> memory(p.m() * p.n());
    Product<T> whole = p;
    whole.c = row_major(memory.data(), p.m(), p.n());
    const auto& plane = *kernels<T>().plane;
    // body(some rows of c as a box, where they lie, their place in memory)
    const auto for_some_rows = [&](auto&& body) {
        const index_t most = std::max<index_t>(1, kScatteredElements / p.n());
        const int threads = threads_for(static_cast<double>(p.m()) * static_cast<double>(p.n()));
        parallel_for(ceil_div(p.m(), most), threads, [&](index_t task) {
            const index_t i = task * most, rows = std::min(most, p.m() - i);
            body(BoxShape{{1, rows, p.n()}, {0, p.c.row_stride, p.c.col_stride}},
                 p.c.data + i * p.c.row_stride, memory.data() + i * p.n());
        });
    };
    if (p.epilogue.accumulate)
        for_some_rows([&](const BoxShape& box, T* c, T* copy) { plane.gather_box(box, c, copy); });
    multiply_any(whole);
    for_some_rows([&](const BoxShape& box, T* c, T* copy) { plane.scatter_box(box, copy, c); });
}

}  // namespace

template <class T>
void PackedMatrix<T>::pack(const Matrix<const T>& b) {
    rows_ = b.rows;
    cols_ = b.cols;
    panel_cols_ = cols_ == 1 ? 1 : kernels<T>().gemm->tile_cols;
    kernels_ = kernels<T>().gemm;
    const index_t panels = ceil_div(cols_, panel_cols_);
    if (panels_.size() < panels * panel_stride()) panels_ = Buffer<T>(panels * panel_stride());
    if (cols_ == 1) {
        for (index_t i = 0; i < rows_; ++i) panels_[i] = b.data[i * b.row_stride];
        return;
    }
    parallel_for(panels, threads_for(kPackCost * static_cast<double>(rows_ * cols_)), [&](index_t panel) {
        const index_t j = panel * panel_cols_;
        kernels<T>().gemm->pack_b(rows_, std::min(panel_cols_, cols_ - j), b.data + j * b.col_stride,
                                  b.row_stride, b.col_stride, panels_.data() + panel * panel_stride());
    });
}

template <class T>
const T* PackedMatrix<T>::panels() const {
    if (!empty() && kernels_ != kernels<T>().gemm)
        throw std::logic_error("PackedMatrix: packed for another instruction set than " + active_isa());
    return panels_.data();
}

template <class T>
void matmul(const Matrix<const T>& a, const PackedMatrix<T>& b, const Matrix<T>& c,
            const Epilogue<T>& epilogue) {
    if (c.rows == 0 || c.cols == 0) return;
    FlushDenormals flush;
    const Product<T> p = packed_product(a, b, c, epilogue);
    b.cols() == 1 ? multiply_any(p) : multiply(p);
}

template <class T>
void matmul(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c,
            const Epilogue<T>& epilogue) {
    if (c.rows == 0 || c.cols == 0) return;
    FlushDenormals flush;
    Product<T> p = {a, b, c, epilogue};
    if (is_tiny(p)) return multiply_tiny(p);
    if (is_tiny_outer(p)) return multiply_tiny_outer(p);
    // Larger ones are packed in parts.
    if (!has_gaps(b) || b.rows * b.cols * static_cast<index_t>(sizeof(T)) > kUnpackedBytes)
        return multiply_any(p);
    Scratch<T> memory(b.rows * b.cols);
    p.b = without_gaps(b, memory);
    multiply_any(p);
}

template <class T>
void matmul(const ScatteredRows<T>& a, const Matrix<const T>& b, const Matrix<T>& c,
            const Epilogue<T>& epilogue) {
    if (c.rows == 0 || c.cols == 0) return;
    FlushDenormals flush;
    Product<T> p = {{a.data, a.rows, a.cols, 0, 1}, b, c, epilogue};
    p.a_row_offsets = a.offsets;
    multiply(p);
}

template <class T>
void matmul_transposed(const ScatteredRows<T>& a, const Matrix<const T>& b, const Matrix<T>& c,
                       const Epilogue<T>& epilogue) {
    if (c.rows == 0 || c.cols == 0) return;
    FlushDenormals flush;
    if (a.cols == 1 && b.cols == 1) {  // two vectors, as if they were side by side
        Scratch<T> column(a.rows);
        for (index_t i = 0; i < a.rows; ++i) column.data()[i] = a.data[a.offsets[i]];
        return multiply_any(Product<T>{row_major<const T>(column.data(), 1, a.rows), b, c, epilogue});
    }
    Product<T> p = {{a.data, a.cols, a.rows, 1, 0}, b, c, epilogue};
    p.a_column_offsets = a.offsets;
    multiply(p);
}

template <class T>
void matmul_transposed(const ScatteredRows<T>& a, const PackedMatrix<T>& b, const Matrix<T>& c,
                       const Epilogue<T>& epilogue) {
    if (c.rows == 0 || c.cols == 0) return;
    if (b.cols() == 1) return matmul_transposed(a, {b.panels(), b.rows(), 1, 1, 1}, c, epilogue);
    FlushDenormals flush;
    Product<T> p = packed_product<T>({a.data, a.cols, a.rows, 1, 0}, b, c, epilogue);
    p.a_column_offsets = a.offsets;
    multiply(p);
}

template <class T>
void column_sums(const Matrix<const T>& a, T* sums) {
    std::fill_n(sums, a.cols, T{});
    add_column_sums(a, sums);
}

template <class T>
void add_column_sums(const Matrix<const T>& a, T* sums) {
    if (a.rows == 0 || a.cols == 0) return;
    const auto& gemm = *kernels<T>().gemm;
    if (a.row_stride == 1 && (a.cols == 1 || a.col_stride != 1) && a.rows >= gemm.tile_cols) {
        for (index_t j = 0; j < a.cols; ++j) sums[j] += gemm.sum(a.rows, a.data + j * a.col_stride);
        return;
    }
    constexpr index_t kTiny = 64;
    const bool contiguous = a.col_stride == 1 || a.cols == 1;
    if (!contiguous && a.rows * a.cols <= kTiny) {
        for (index_t i = 0; i < a.rows; ++i)
            for (index_t j = 0; j < a.cols; ++j) sums[j] += a.data[i * a.row_stride + j * a.col_stride];
        return;
    }
    // So few rows at a time that memory is read from one end to the other; copies of those with gaps.
    const index_t most = std::clamp<index_t>(kScatteredElements / a.cols, 1, a.rows);
    Scratch<T> memory(contiguous ? 0 : most * a.cols);
    for (index_t i = 0; i < a.rows; i += most) {
        const index_t rows = std::min(most, a.rows - i);
        const T* from = a.data + i * a.row_stride;
        if (contiguous) {
            gemm.add_columns(rows, a.cols, from, a.row_stride, sums);
            continue;
        }
        kernels<T>().plane->gather_box({{1, rows, a.cols}, {0, a.row_stride, a.col_stride}}, from,
                                       memory.data());
        gemm.add_columns(rows, a.cols, memory.data(), a.cols, sums);
    }
}

template void matmul(const Matrix<const float>&, const Matrix<const float>&, const Matrix<float>&,
                     const Epilogue<float>&);
template void matmul(const Matrix<const double>&, const Matrix<const double>&, const Matrix<double>&,
                     const Epilogue<double>&);
template void matmul(const Matrix<const float>&, const PackedMatrix<float>&, const Matrix<float>&,
                     const Epilogue<float>&);
template void matmul(const Matrix<const double>&, const PackedMatrix<double>&, const Matrix<double>&,
                     const Epilogue<double>&);
template class PackedMatrix<float>;
template class PackedMatrix<double>;
template void matmul(const ScatteredRows<float>&, const Matrix<const float>&, const Matrix<float>&,
                     const Epilogue<float>&);
template void matmul(const ScatteredRows<double>&, const Matrix<const double>&, const Matrix<double>&,
                     const Epilogue<double>&);
template void matmul_transposed(const ScatteredRows<float>&, const Matrix<const float>&, const Matrix<float>&,
                                const Epilogue<float>&);
template void matmul_transposed(const ScatteredRows<double>&, const Matrix<const double>&,
                                const Matrix<double>&, const Epilogue<double>&);
template void matmul_transposed(const ScatteredRows<float>&, const PackedMatrix<float>&, const Matrix<float>&,
                                const Epilogue<float>&);
template void matmul_transposed(const ScatteredRows<double>&, const PackedMatrix<double>&,
                                const Matrix<double>&, const Epilogue<double>&);
template void add_column_sums(const Matrix<const float>&, float*);
template void add_column_sums(const Matrix<const double>&, double*);
template void column_sums(const Matrix<const float>&, float*);
template void column_sums(const Matrix<const double>&, double*);

}  // namespace ranvier
