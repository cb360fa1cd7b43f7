// Matrix products, for the instruction set in use (RANVIER_ISA forces one).
#include <benchmark/benchmark.h>

#include <vector>

#include "peak.h"
#include "ranvier/matmul.h"

namespace {

template <class T>
void product(benchmark::State& state, bool b_transposed, bool c_transposed = false) {
    const ranvier::index_t m = state.range(0), n = state.range(1), k = state.range(2);
    std::vector<T> a(m * k, T(1)), b(k * n, T(1)), c(m * n);
    ranvier::Matrix<const T> right = ranvier::row_major<const T>(b.data(), k, n);
    if (b_transposed) right = ranvier::transposed(ranvier::row_major<const T>(b.data(), n, k));
    ranvier::Matrix<T> to = ranvier::row_major(c.data(), m, n);
    if (c_transposed) to = ranvier::transposed(ranvier::row_major(c.data(), n, m));
    const peak::Meter meter(state);
    for (auto _ : state) ranvier::matmul<T>(ranvier::row_major<const T>(a.data(), m, k), right, to);
    meter.report_flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
                       sizeof(T) == sizeof(double));
}

// Few rows by weights that are packed once, as a frozen predictor's.
void product_of_packed(benchmark::State& state) {
    const ranvier::index_t m = state.range(0), n = state.range(1), k = state.range(2);
    std::vector<float> a(m * k, 1.0f), b(k * n, 1.0f), c(m * n);
    const ranvier::PackedMatrix<float> packed(ranvier::row_major<const float>(b.data(), k, n));
    const peak::Meter meter(state);
    for (auto _ : state)
        ranvier::matmul<float>(ranvier::row_major<const float>(a.data(), m, k), packed,
                               ranvier::row_major(c.data(), m, n));
    meter.report_flops(2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k), false);
}

void few_rows(benchmark::internal::Benchmark* b) {
    for (const ranvier::index_t n : {512, 1000, 3000})
        for (const ranvier::index_t m : {2, 3, 8, 12, 48}) b->Args({m, n, n});
}

void shapes(benchmark::internal::Benchmark* b) {
    for (ranvier::index_t n : {8, 32, 64, 128, 256, 512, 1024, 2048}) b->Args({n, n, n});
    b->Args({10, 30, 784})
        ->Args({1, 100, 784})
        ->Args({64, 64, 4096})
        ->Args({50, 100, 784})
        ->Args({2000, 100, 784});
}

// Rows, columns and depth where one operand is a vector.
void vectors(benchmark::internal::Benchmark* b) {
    for (ranvier::index_t n : {100, 1000, 4000}) b->Args({n, 1, n})->Args({1, n, n});
    b->Args({1, 256, 784})
        ->Args({1, 784, 256})
        ->Args({1, 1, 100000})
        ->Args({30, 1, 784})
        ->Args({100, 1, 20000});
}

// Few rows by few columns, along a great depth.
void inner_products(benchmark::internal::Benchmark* b) {
    b->Args({8, 4, 25569})->Args({3, 3, 100000})->Args({4, 1000, 8192});
}

// Few rows into a c whose columns are contiguous.
void turned(benchmark::internal::Benchmark* b) { b->Args({2, 636, 21})->Args({2, 4000, 500}); }

void matmul_float32(benchmark::State& state) { product<float>(state, false); }
void matmul_float32_b_transposed(benchmark::State& state) { product<float>(state, true); }
void matmul_float32_c_transposed(benchmark::State& state) { product<float>(state, false, true); }
void matmul_float64(benchmark::State& state) { product<double>(state, false); }

BENCHMARK(matmul_float32)->Apply(shapes)->UseRealTime();
BENCHMARK(matmul_float32_b_transposed)->Apply(shapes)->UseRealTime();
BENCHMARK(matmul_float64)->Args({512, 512, 512})->UseRealTime();
BENCHMARK(matmul_float32)->Name("matmul_few_rows_float32")->Apply(few_rows)->UseRealTime();
BENCHMARK(product_of_packed)->Name("matmul_packed_float32")->Apply(few_rows)->UseRealTime();
BENCHMARK(matmul_float32)->Name("matmul_vector_float32")->Apply(vectors)->UseRealTime();
BENCHMARK(matmul_float32_b_transposed)
    ->Name("matmul_vector_float32_b_transposed")
    ->Apply(vectors)
    ->UseRealTime();
BENCHMARK(matmul_float32_b_transposed)
    ->Name("matmul_inner_products_float32")
    ->Apply(inner_products)
    ->UseRealTime();
BENCHMARK(matmul_float32_c_transposed)->Apply(turned)->UseRealTime();
BENCHMARK(matmul_float64)->Name("matmul_vector_float64")->Apply(vectors)->UseRealTime();

}  // namespace
