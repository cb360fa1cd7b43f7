// Products against a float64 reference: shapes around every block, all layouts, and the same bits by every
// path.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "isas.h"
#include "ranvier/matmul.h"
#include "ranvier/threads.h"

namespace {

using ranvier::index_t;
using ranvier::Matrix;

// How a matrix lies in memory.
enum class Layout { rows, columns, gaps, reversed, every_second, every_second_of_columns };
constexpr Layout kLayouts[] = {Layout::rows,     Layout::columns,      Layout::gaps,
                               Layout::reversed, Layout::every_second, Layout::every_second_of_columns};

// A matrix that begins behind an element of its memory, so that it is not aligned, and ends `margin` elements
// before the memory's end: without a margin, what reads or writes beyond it is seen by sanitizers.
template <class T>
struct Stored {
    std::vector<T> memory;
    Matrix<T> view;

    static index_t extent(index_t rows, index_t cols, Layout layout) {
        if (rows * cols == 0) return 0;
        if (layout == Layout::gaps) return (rows - 1) * (cols + 3) + cols;
        return layout >= Layout::every_second ? 2 * rows * cols - 1 : rows * cols;
    }

    Stored(index_t rows, index_t cols, Layout layout, unsigned seed, index_t margin = 0) {
        memory.resize(static_cast<std::size_t>(1 + extent(rows, cols, layout) + margin));
        // From -1 to 1, by a generator that costs next to nothing: millions are drawn, also in emulators.
        std::uint32_t state = seed;
        for (T& value : memory) {
            state = 1664525 * state + 1013904223;  // Numerical Recipes
            value = static_cast<T>(static_cast<double>(state >> 8) / (1 << 23) - 1);
        }
        T* base = memory.data() + 1;
        switch (layout) {
            case Layout::rows:
                view = {base, rows, cols, cols, 1};
                break;
            case Layout::columns:
                view = {base, rows, cols, 1, rows};
                break;
            case Layout::gaps:
                view = {base, rows, cols, cols + 3, 1};
                break;
            case Layout::reversed:
                view = {base + rows * cols - 1, rows, cols, -cols, -1};
                break;
            case Layout::every_second:
                view = {base, rows, cols, 2 * cols, 2};
                break;
            case Layout::every_second_of_columns:
                view = {base, rows, cols, 2, 2 * rows};
                break;
        }
        if (rows * cols == 0) view.data = base;
    }
    T& at(index_t i, index_t j) { return view.data[i * view.row_stride + j * view.col_stride]; }
};

template <class T>
void expect_product(index_t m, index_t n, index_t k, Layout la, Layout lb, Layout lc, bool accumulate) {
    constexpr index_t kMargin = 70;  // which must stay as it is
    Stored<T> a(m, k, la, 1), b(k, n, lb, 2), c(m, n, lc, 3, kMargin);
    std::vector<double> expected(static_cast<std::size_t>(m * n)), magnitude(expected.size());
    for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j < n; ++j) {
            double sum = accumulate ? c.at(i, j) : 0, size = std::abs(sum);
            for (index_t p = 0; p < k; ++p) {
                sum += double(a.at(i, p)) * double(b.at(p, j));
                size += std::abs(double(a.at(i, p)) * double(b.at(p, j)));
            }
            expected[i * n + j] = sum;
            magnitude[i * n + j] = size;
        }
    const std::vector<T> untouched = c.memory;
    ranvier::Epilogue<T> epilogue;
    epilogue.accumulate = accumulate;
    ranvier::matmul<T>(a.view, b.view, c.view, epilogue);
    for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j < n; ++j) {
            const double bound = 2.0 * (k + 2) * std::numeric_limits<T>::epsilon() * magnitude[i * n + j];
            ASSERT_NEAR(c.at(i, j), expected[i * n + j], bound)
                << m << "x" << n << "x" << k << " layouts " << int(la) << int(lb) << int(lc) << " at " << i
                << "," << j;
        }
    std::size_t changed = 0;
    for (std::size_t i = 0; i < untouched.size(); ++i) changed += untouched[i] != c.memory[i];
    EXPECT_LE(changed, static_cast<std::size_t>(m * n)) << "wrote outside of c";
}

using Matmul = EachIsa;
RANVIER_EACH_ISA(Matmul);

TEST_P(Matmul, AgreesWithTheReferenceInEveryLayout) {
    for (Layout la : kLayouts)
        for (Layout lb : kLayouts)
            for (Layout lc : kLayouts) {
                expect_product<float>(13, 35, 17, la, lb, lc, false);
                expect_product<double>(13, 35, 17, la, lb, lc, true);
            }
}

TEST_P(Matmul, AgreesOnAwkwardShapes) {
    const index_t sizes[] = {0, 1, 2, 3, 7, 11, 12, 13, 31, 32, 33, 64, 97};
    for (index_t m : sizes)
        for (index_t n : sizes)
            for (index_t k : {0, 1, 5, 16, 33}) {
                expect_product<float>(m, n, k, Layout::rows, Layout::rows, Layout::rows, false);
                expect_product<double>(m, n, k, Layout::rows, Layout::columns, Layout::rows, true);
            }
}

TEST_P(Matmul, AgreesBeyondEveryBlock) {
    expect_product<float>(200, 530, 390, Layout::rows, Layout::columns, Layout::rows, false);
    expect_product<float>(385, 33, 769, Layout::columns, Layout::rows, Layout::rows, true);
    expect_product<double>(193, 257, 515, Layout::gaps, Layout::gaps, Layout::columns, true);
    expect_product<float>(24, 1030, 800, Layout::rows, Layout::columns, Layout::gaps, false);
    for (Layout a : {Layout::reversed, Layout::every_second, Layout::every_second_of_columns})
        for (Layout b : {Layout::reversed, Layout::every_second, Layout::every_second_of_columns})
            for (index_t m : {index_t{2}, index_t{211}}) {
                expect_product<float>(m, 521, 389, a, b, Layout::rows, false);
                expect_product<double>(m, 205, 389, a, b, Layout::rows, true);
            }
    for (index_t n : {29, 61, 97}) {  // A is not packed, on one instruction set or another
        expect_product<float>(205, n, 530, Layout::gaps, Layout::rows, Layout::rows, false);
        expect_product<double>(205, n, 530, Layout::rows, Layout::columns, Layout::gaps, true);
    }
    expect_product<float>(64, 64, 4096, Layout::rows, Layout::rows, Layout::rows, true);
    expect_product<float>(4100, 5, 40, Layout::rows, Layout::rows, Layout::rows, false);
    expect_product<float>(5, 4100, 40, Layout::rows, Layout::rows, Layout::rows, false);
}

TEST_P(Matmul, AgreesOnVectorsAndFewRowsInEveryLayout) {
    for (Layout la : kLayouts)
        for (Layout lb : kLayouts)
            for (Layout lc : {Layout::rows, Layout::columns, Layout::every_second})
                for (bool accumulate : {false, true}) {
                    for (auto [m, n, k] : {std::array<index_t, 3>{1, 150, 530}, {150, 1, 530}, {1, 1, 37}}) {
                        expect_product<float>(m, n, k, la, lb, lc, accumulate);
                        expect_product<double>(m, n, k, la, lb, lc, accumulate);
                    }
                    for (index_t few : {2, 3, 4, 5, 6, 7}) {
                        expect_product<float>(few, 23, 45, la, lb, lc, accumulate);
                        expect_product<double>(23, few, 45, la, lb, lc, accumulate);
                    }
                }
}

// Beyond the blocks of inner products and the strips of a large B.
TEST_P(Matmul, AgreesOnLargeProductsOfFewRows) {
    for (Layout la : {Layout::rows, Layout::columns})
        for (Layout lb : {Layout::rows, Layout::columns})
            for (bool accumulate : {false, true})
                for (auto [m, n, k] : {std::array<index_t, 3>{1, 1, 40001},
                                       {1, 3, 17000},
                                       {2, 5, 16385},
                                       {1, 20000, 37},
                                       {1, 1003, 1050},
                                       {2, 1003, 53},
                                       {3, 9001, 30},
                                       {4, 601, 55},
                                       {5, 1037, 525},
                                       {6, 603, 87},
                                       {7, 1500, 530},
                                       {12, 2500, 70},
                                       {700, 1, 600}}) {
                    expect_product<float>(m, n, k, la, lb, Layout::rows, accumulate);
                    expect_product<double>(m, n, k, la, lb, Layout::rows, accumulate);
                }
}

TEST_P(Matmul, AgreesOnRandomShapes) {
    std::mt19937 generator(7);
    std::uniform_int_distribution<int> size(1, 150), layout(0, 4);
    for (int trial = 0; trial < 60; ++trial) {
        const index_t m = size(generator), n = size(generator), k = size(generator);
        const auto la = static_cast<Layout>(layout(generator)), lb = static_cast<Layout>(layout(generator)),
                   lc = static_cast<Layout>(layout(generator));
        expect_product<float>(m, n, k, la, lb, lc, trial % 2);
        expect_product<double>(m, n, k, la, lb, lc, trial % 2);
    }
}

template <class T>
std::vector<T> product(Stored<T>& a, Stored<T>& b) {
    std::vector<T> c(static_cast<std::size_t>(a.view.rows * b.view.cols));
    ranvier::matmul<T>(a.view, b.view, ranvier::row_major(c.data(), a.view.rows, b.view.cols));
    return c;
}

TEST_P(Matmul, GivesTheSameBitsInEveryLayoutBatchAndThreadCount) {
    for (auto [m, n, k] :
         {std::array<index_t, 3>{300, 200, 500}, {64, 64, 4096}, {20, 700, 900}, {3000, 10, 30}}) {
        Stored<float> a(m, k, Layout::rows, 1), b(k, n, Layout::rows, 2);
        Stored<float> b_columns(k, n, Layout::columns, 3);
        for (index_t i = 0; i < k; ++i)
            for (index_t j = 0; j < n; ++j) b_columns.at(i, j) = b.at(i, j);
        ranvier::set_num_threads(1);
        const auto alone = product(a, b);
        EXPECT_EQ(alone, product(a, b_columns));
        for (int threads : {2, 3, 4}) {
            ranvier::set_num_threads(threads);
            EXPECT_EQ(alone, product(a, b)) << threads << " threads, " << m << "x" << n << "x" << k;
            EXPECT_EQ(alone, product(a, b_columns)) << threads << " threads, transposed";
        }
        ranvier::set_num_threads(0);
        for (index_t few : {1, 2, 3, 4, 5, 6, 9})
            for (index_t i : {index_t{0}, m / 2, m - few}) {
                Stored<float> rows = a;
                rows.view = {rows.memory.data() + 1 + i * k, few, k, k, 1};
                const auto part = product(rows, b);
                EXPECT_TRUE(std::equal(part.begin(), part.end(), alone.begin() + i * n))
                    << few << " rows from " << i << " on, " << m << "x" << n << "x" << k;
            }
    }
}

// A matrix by a vector whose depth is contiguous, in blocks of a product of many rows or by itself.
TEST_P(Matmul, OneColumnHasTheBitsOfARowByItself) {
    for (index_t k : {1, 5, 16, 37, 784, 20000}) {
        const index_t m = 13;
        Stored<float> a(m, k, Layout::rows, 1), b(k, 1, Layout::rows, 2);
        Stored<float> gaps(k, 1, Layout::gaps, 3);
        for (index_t p = 0; p < k; ++p) gaps.at(p, 0) = b.at(p, 0);
        const auto all = product(a, b);
        EXPECT_EQ(all, product(a, gaps)) << k;
        const ranvier::PackedMatrix<float> packed(gaps.view);
        std::vector<float> by_packed(m), strided(2 * m);
        ranvier::matmul<float>(a.view, packed, ranvier::row_major(by_packed.data(), m, index_t{1}));
        EXPECT_EQ(all, by_packed) << k;
        ranvier::matmul<float>(a.view, b.view, {strided.data(), m, 1, 2, 1});
        for (index_t i = 0; i < m; ++i) {
            Stored<float> row = a;
            row.view = {&row.at(i, 0), 1, k, k, 1};
            EXPECT_EQ(all[i], product(row, b)[0]) << k << ", row " << i;
            EXPECT_EQ(all[i], strided[2 * i]) << k << ", row " << i;
        }
    }
}

TEST_P(Matmul, InnerProductsOfARowAreTheSameInAnyCompany) {
    for (index_t k : {64, 101, 530, 17000}) {
        const index_t n = 21;
        Stored<double> a(6, k, Layout::rows, 1), b(k, n, Layout::columns, 2);
        for (index_t m = 1; m <= 6; ++m) {
            Stored<double> rows = a, column = b;
            rows.view.rows = m;
            const auto all = product(rows, b);
            for (index_t i = 0; i < m; ++i) {
                Stored<double> row = a;
                row.view = {&row.at(i, 0), 1, k, k, 1};
                const auto one = product(row, b);
                EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + i * n)) << k << " " << m;
            }
            column.view = {&column.at(0, 20), k, 1, 1, k};
            const auto last = product(rows, column);
            for (index_t i = 0; i < m; ++i) EXPECT_EQ(last[i], all[i * n + 20]) << k << " " << m;
        }
    }
}

TEST_P(Matmul, ProductsOfVectorsHaveTheSameBitsAtAnyThreadCount) {
    for (auto [m, n, k] : {std::array<index_t, 3>{1, 1, 900000},
                           {1, 2, 300000},
                           {3, 5, 100000},
                           {1, 1000, 700},
                           {1000, 1, 700},
                           {1, 100000, 9},
                           {5, 3000, 300},
                           {2000, 4, 300},
                           {4, 64, 17000}})
        for (Layout la : {Layout::rows, Layout::columns})
            for (Layout lb : {Layout::rows, Layout::columns}) {
                Stored<float> a(m, k, la, 1), b(k, n, lb, 2);
                ranvier::set_num_threads(1);
                const auto alone = product(a, b);
                for (int threads : {2, 3, 4}) {
                    ranvier::set_num_threads(threads);
                    EXPECT_EQ(alone, product(a, b)) << threads << " threads, " << m << "x" << n << "x" << k;
                }
            }
    ranvier::set_num_threads(0);
}

TEST_P(Matmul, PropagatesNanAndInfinity) {
    Stored<float> a(20, 40, Layout::rows, 1), b(40, 50, Layout::rows, 2);
    a.at(3, 7) = NAN;
    b.at(5, 11) = INFINITY;
    const auto c = product(a, b);
    for (index_t j = 0; j < 50; ++j) EXPECT_TRUE(std::isnan(c[3 * 50 + j]));
    for (index_t i = 0; i < 20; ++i) EXPECT_FALSE(std::isfinite(c[i * 50 + 11]));
    EXPECT_TRUE(std::isfinite(c[0]));
    Stored<float> row(1, 40, Layout::rows, 3), columns(40, 50, Layout::columns, 4);
    columns.at(39, 11) = NAN;
    columns.at(0, 49) = -INFINITY;
    const auto few = product(row, columns);
    for (index_t j = 0; j < 50; ++j) EXPECT_EQ(std::isfinite(few[j]), j != 11 && j != 49) << j;
    EXPECT_TRUE(std::isnan(few[11]));
}

TEST_P(Matmul, AddsBiasesOfRowsAndColumns) {
    for (Layout layout : {Layout::rows, Layout::columns, Layout::every_second}) {
        const index_t m = 14, n = 37, k = 20;
        Stored<double> a(m, k, Layout::rows, 1), b(k, n, Layout::rows, 2), c(m, n, layout, 3),
            plain(m, n, layout, 3);
        std::vector<double> of_row(m), of_col(n);
        for (index_t i = 0; i < m; ++i) of_row[i] = i;
        for (index_t j = 0; j < n; ++j) of_col[j] = 100 * j;
        ranvier::Epilogue<double> epilogue;
        epilogue.row_bias = of_row.data();
        epilogue.col_bias = of_col.data();
        ranvier::matmul<double>(a.view, b.view, plain.view);
        ranvier::matmul<double>(a.view, b.view, c.view, epilogue);
        for (index_t i = 0; i < m; ++i)
            for (index_t j = 0; j < n; ++j) EXPECT_DOUBLE_EQ(c.at(i, j), plain.at(i, j) + i + 100 * j);
    }
}

TEST_P(Matmul, SumsColumns) {
    for (Layout layout : kLayouts)
        for (const auto& [rows, cols] : {std::pair<index_t, index_t>{50, 19},
                                         {1, 9000},
                                         {3, 5001},
                                         {5001, 3},
                                         {5001, 1},
                                         {7, 145},
                                         {0, 5}}) {
            Stored<float> a(rows, cols, layout, 4);
            std::vector<float> sums(static_cast<std::size_t>(cols), 99), added(sums);
            ranvier::column_sums<float>(a.view, sums.data());
            ranvier::add_column_sums<float>(a.view, added.data());
            for (index_t j = 0; j < cols; ++j) {
                double expected = 0;
                for (index_t i = 0; i < rows; ++i) expected += a.at(i, j);
                ASSERT_NEAR(sums[j], expected, 1e-6 * (100 + static_cast<double>(rows)));
                ASSERT_NEAR(added[j], 99 + expected, 1e-5 * (100 + static_cast<double>(rows)));
            }
        }
}

template <class T>
void expect_scattered_rows_to_be_rows(index_t m, index_t k, index_t n) {
    Stored<T> table(3 * m, k, Layout::rows, 1), b(k, n, Layout::gaps, 2), g(m, n, Layout::rows, 3);
    std::vector<index_t> offsets;
    std::vector<T> rows;
    for (index_t i = 0; i < m; ++i) {
        const index_t row = (7 * i + 2) % (3 * m);
        offsets.push_back(row * k);
        rows.insert(rows.end(), &table.at(row, 0), &table.at(row, 0) + k);
    }
    const ranvier::ScatteredRows<T> scattered = {table.view.data, offsets.data(), m, k};
    const auto gathered = ranvier::row_major<const T>(rows.data(), m, k);
    std::vector<T> got(m * n), wanted(m * n), got_t(k * n, T(1)), wanted_t(k * n, T(1));
    ranvier::Epilogue<T> epilogue;
    epilogue.activation = ranvier::Activation::relu;
    ranvier::matmul<T>(scattered, b.view, ranvier::row_major(got.data(), m, n), epilogue);
    ranvier::matmul<T>(gathered, b.view, ranvier::row_major(wanted.data(), m, n), epilogue);
    EXPECT_EQ(got, wanted) << m << " " << k << " " << n;
    ranvier::Epilogue<T> adding;
    adding.accumulate = true;
    ranvier::matmul_transposed<T>(scattered, g.view, ranvier::row_major(got_t.data(), k, n), adding);
    ranvier::matmul<T>(ranvier::transposed(gathered), g.view, ranvier::row_major(wanted_t.data(), k, n),
                       adding);
    EXPECT_EQ(got_t, wanted_t) << m << " " << k << " " << n;
    std::fill(got_t.begin(), got_t.end(), T(1));
    ranvier::PackedMatrix<T> packed(ranvier::row_major<const T>(rows.data(), 1, k));  // to be replaced
    packed.pack(g.view);
    ranvier::matmul_transposed<T>(scattered, packed, ranvier::row_major(got_t.data(), k, n), adding);
    EXPECT_EQ(got_t, wanted_t) << "packed " << m << " " << k << " " << n;
    std::fill(got_t.begin(), got_t.end(), T(1));
    ranvier::matmul<T>(ranvier::transposed(gathered), packed, ranvier::row_major(got_t.data(), k, n), adding);
    EXPECT_EQ(got_t, wanted_t) << "side by side, packed " << m << " " << k << " " << n;
}

TEST_P(Matmul, TakesRowsWhereTheyLie) {
    for (int threads : {1, 3}) {
        ranvier::set_num_threads(threads);
        for (index_t m : {1, 10, 25, 64})
            for (index_t k : {1, 5, 784})
                for (index_t n : {1, 16, 30, 33, 100}) {
                    expect_scattered_rows_to_be_rows<float>(m, k, n);
                    expect_scattered_rows_to_be_rows<double>(m, k, n);
                }
        expect_scattered_rows_to_be_rows<float>(2100, 13, 17);  // threads share the blocks of the depth
        expect_scattered_rows_to_be_rows<double>(2100, 13, 17);
        expect_scattered_rows_to_be_rows<float>(60, 230, 70);
    }
    ranvier::set_num_threads(0);
}

// Products by a packed B, with each part of the epilogue, against those by the same B in rows.
template <class T>
void expect_packed_to_be_plain(index_t m, index_t n, index_t k, Layout la, Layout lb) {
    constexpr int kSteps = 3;
    Stored<T> a(m, k, la, 1), b(k, n, lb, 2), rows(k, n, Layout::rows, 2), plain(m, n, Layout::gaps, 3),
        c = plain;
    for (index_t i = 0; i < k; ++i)
        for (index_t j = 0; j < n; ++j) rows.at(i, j) = b.at(i, j);
    std::vector<T> of_row(m, T(0.5)), of_col(n, T(-0.25));
    ranvier::Epilogue<T> epilogues[kSteps];
    epilogues[1].accumulate = epilogues[2].accumulate = true;
    epilogues[1].col_bias = epilogues[2].col_bias = of_col.data();
    epilogues[2].row_bias = of_row.data();
    epilogues[2].activation = ranvier::Activation::relu;
    ranvier::set_num_threads(1);
    std::vector<T> expected[kSteps];
    for (int step = 0; step < kSteps; ++step) {
        ranvier::matmul<T>(a.view, rows.view, plain.view, epilogues[step]);
        expected[step] = plain.memory;
    }
    const std::vector<T> before = c.memory;
    for (int threads : {1, 2, 3}) {
        ranvier::set_num_threads(threads);
        const ranvier::PackedMatrix<T> packed(b.view);
        ASSERT_EQ(packed.rows(), k);
        ASSERT_EQ(packed.cols(), n);
        ASSERT_EQ(packed.empty(), k * n == 0);
        c.memory = before;
        c.view.data = c.memory.data() + 1;
        for (int step = 0; step < kSteps; ++step) {
            ranvier::matmul<T>(a.view, packed, c.view, epilogues[step]);
            ASSERT_EQ(c.memory, expected[step]) << m << "x" << n << "x" << k << " layouts " << int(la)
                                                << int(lb) << ", threads " << threads << ", step " << step;
        }
    }
}

TEST_P(Matmul, PackedRightOperandChangesNoBit) {
    for (index_t m : {0, 1, 2, 5, 13, 25})
        for (index_t n : {0, 1, 8, 17, 33, 130})
            for (index_t k : {0, 1, 31, 513, 1030}) {
                expect_packed_to_be_plain<float>(m, n, k, Layout::rows, Layout::rows);
                expect_packed_to_be_plain<double>(m, n, k, Layout::reversed, Layout::columns);
            }
    for (index_t m : {192, 193, 401})
        for (index_t n : {10, 129, 331})
            for (index_t k : {40, 700}) {
                expect_packed_to_be_plain<float>(m, n, k, Layout::columns, Layout::gaps);
                expect_packed_to_be_plain<double>(m, n, k, Layout::rows, Layout::columns);
            }
    expect_packed_to_be_plain<float>(64, 64, 4096, Layout::rows, Layout::columns);
    expect_packed_to_be_plain<float>(1, 1031, 1537, Layout::every_second, Layout::rows);
    expect_packed_to_be_plain<float>(4100, 5, 40, Layout::rows, Layout::rows);
    expect_packed_to_be_plain<float>(200, 4200, 30, Layout::rows, Layout::rows);
    ranvier::set_num_threads(0);
}

TEST_P(Matmul, PackedRightOperandIsSharedByThreads) {
    const index_t m = 20, n = 200, k = 300;
    Stored<float> a(m, k, Layout::rows, 1), b(k, n, Layout::rows, 2);
    const ranvier::PackedMatrix<float> packed(b.view);
    const auto expected = product(a, b);
    std::vector<std::vector<float>> found(4, std::vector<float>(m * n));
    std::vector<std::thread> threads;
    for (auto& c : found)
        threads.emplace_back([&] {
            for (int turn = 0; turn < 20; ++turn)
                ranvier::matmul<float>(a.view, packed, ranvier::row_major(c.data(), m, n));
        });
    for (auto& thread : threads) thread.join();
    for (const auto& c : found) EXPECT_EQ(c, expected);
}

TEST(PackedMatrix, RefusesAnotherInstructionSet) {
    const auto isas = ranvier::cpu_info().supported_isas;
    if (isas.size() < 2) return;  // there is no other to refuse
    const std::string before = ranvier::active_isa();
    Stored<float> a(3, 5, Layout::rows, 1), b(5, 4, Layout::rows, 2), c(3, 4, Layout::rows, 3);
    ranvier::set_active_isa(isas.front());
    const ranvier::PackedMatrix<float> packed(b.view);
    ranvier::set_active_isa(isas.back());
    EXPECT_THROW(ranvier::matmul<float>(a.view, packed, c.view), std::logic_error);
    ranvier::set_active_isa(before);
}

TEST_P(Matmul, OneRowHasTheBitsOfManyAtAnyDepth) {
    for (index_t k : {1, 256, 257, 512, 513, 784, 1025, 1537})
        for (index_t n : {1, 16, 30, 65, 130, 1100}) {
            Stored<float> a(13, k, Layout::rows, 1), b(k, n, Layout::rows, 2);
            std::vector<float> all(13 * n, 1.0f), one(n, 1.0f);
            ranvier::Epilogue<float> adding;
            adding.accumulate = true;
            ranvier::matmul<float>(a.view, b.view, ranvier::row_major(all.data(), index_t{13}, n), adding);
            const auto row = ranvier::row_major<const float>(&a.at(5, 0), 1, k);
            ranvier::matmul<float>(row, b.view, ranvier::row_major(one.data(), index_t{1}, n), adding);
            EXPECT_EQ(one, std::vector<float>(all.begin() + 5 * n, all.begin() + 6 * n)) << k << " " << n;
        }
}

}  // namespace
