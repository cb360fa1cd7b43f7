// Matrix products of one instruction set: packing into panels, and the register tile.
//
// A tile of ROWS x VECS vectors of C stays in registers while the depth runs by: at each step one
// vector of B for each column group and one broadcast element of A for each row (Goto and van de
// Geijn 2008). The same tile serves packed operands and operands where they lie; only strides differ.
#include "../../platform/simd_half.h"
#include "../../platform/simd_loops.h"
#include "../../platform/simd_registers.h"
#include "../../platform/simd_transpose.h"
#include "boxes.h"
#include "isa.h"
#include "ranvier/memory.h"

namespace ranvier::RANVIER_ISA {
namespace {

constexpr int kTileVecs = 2;
constexpr int kTileRows = kAccumulators / kTileVecs;
template <class T>
constexpr index_t kTileCols = kTileVecs* kLanes<T>;

template <class T>
struct Operands {
    index_t depth;
    const T* a;
    index_t a_row_stride, a_col_stride;
    const T* b;  // unit column stride
    index_t b_row_stride;
    T* c;
    index_t c_row_stride;
    const index_t* offsets;  // of the rows or columns of A, or of the rows of B, if the scheme has them
    index_t last_cols;       // of the last vector, if the tile is masked
    index_t stored_rows;     // of the tile, if A is packed (its panels are padded)
    bool accumulate;
    const T* row_bias = nullptr;  // if rows of B are at offsets
    // From one panel of B to the next, if B is packed; else a panel's width.
    index_t b_panel_stride = kTileCols<T>;
    bool resume = false;  // the sums begin with what c holds, not with zero (strides only)
};

// Where the operands lie: A in panels; both with strides; A with strides and B in panels; or the rows or
// columns of A, or the rows of B, at offsets from a table.
enum class Scheme { packed_a, strides, packed_b, a_row_offsets, a_column_offsets, b_offsets };

// Rows of A are reached from every third one, so that a dozen of them need few address registers.
constexpr int kRowGroup = 3;
// How far ahead a panel of B is fetched, in elements, if B is packed and A is not: then A has few rows, whose
// tiles outrun what the processor fetches by itself of weights that lie in no near cache.
template <class T>
constexpr index_t kAhead = 24 * kTileCols<T>;

template <class V, int ROWS, int VECS>
using Sums = typename V::Vector[ROWS][VECS];

// sum += a's column p times b's row p, in vectors of the width V.
template <class V, int ROWS, int VECS, bool MASKED, class Element>
RANVIER_INLINE void add_outer_product(const typename V::Element* b, index_t panel_stride, index_t last_cols,
                                      Element&& a, Sums<V, ROWS, VECS>& sum) {
    typename V::Vector columns[VECS];
#pragma GCC unroll 16
    for (int v = 0; v < VECS; ++v) {
        const auto* from = b + v / kTileVecs * panel_stride + v % kTileVecs * V::kLanes;
        columns[v] =
            in_register<ROWS>(MASKED && v == VECS - 1 ? V::load_partial(from, last_cols) : V::load(from));
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
        const typename V::Vector row = V::broadcast(a(i));
#pragma GCC unroll 16
        for (int v = 0; v < VECS; ++v) sum[i][v] = V::fma(row, columns[v], sum[i][v]);
    }
}

template <class V, int ROWS, int VECS, bool MASKED, Scheme SCHEME>
RANVIER_INLINE void add_products(const Operands<typename V::Element>& o, Sums<V, ROWS, VECS>& sum) {
    using T = typename V::Element;
    const T* b = o.b;
    if constexpr (SCHEME == Scheme::a_row_offsets) {
        const T* a[ROWS];
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) a[i] = o.a + o.offsets[i];
        for (index_t p = 0; p < o.depth; ++p, b += o.b_row_stride)
            add_outer_product<V, ROWS, VECS, MASKED>(
                b, kTileCols<T>, o.last_cols, [&](int i) { return a[i][p]; }, sum);
    } else if constexpr (SCHEME == Scheme::a_column_offsets) {
        for (index_t p = 0; p < o.depth; ++p, b += o.b_row_stride) {
            const T* a = o.a + o.offsets[p];
            add_outer_product<V, ROWS, VECS, MASKED>(
                b, kTileCols<T>, o.last_cols, [&](int i) { return a[i]; }, sum);
        }
    } else {
        constexpr int kGroups = (ROWS + kRowGroup - 1) / kRowGroup;
        const index_t row_stride = SCHEME == Scheme::packed_a ? 1 : o.a_row_stride;
        const index_t col_stride = SCHEME == Scheme::packed_a ? kTileRows : o.a_col_stride;
        const index_t panel_stride = SCHEME == Scheme::packed_b ? o.b_panel_stride : kTileCols<T>;
        const T* a[kGroups];
#pragma GCC unroll 16
        for (int g = 0; g < kGroups; ++g) a[g] = o.a + g * kRowGroup * row_stride;
        for (index_t p = 0; p < o.depth; ++p) {
            if (SCHEME == Scheme::b_offsets) b = o.b + o.offsets[p];
            if (SCHEME == Scheme::packed_b)
                for (index_t i = 0; i < VECS * V::kLanes; i += kCacheLine<T>)
                    __builtin_prefetch(b + kAhead<T> + i / kTileCols<T> * panel_stride + i % kTileCols<T>);
            add_outer_product<V, ROWS, VECS, MASKED>(
                b, panel_stride, o.last_cols,
                [&](int i) { return a[i / kRowGroup][(i % kRowGroup) * row_stride]; }, sum);
#pragma GCC unroll 16
            for (int g = 0; g < kGroups; ++g) a[g] += col_stride;
            if (SCHEME != Scheme::b_offsets) b += o.b_row_stride;
        }
    }
}

// body(row, vector, its place in c, whether it is the row's last) for the tile's vectors that belong to c.
template <class V, int ROWS, int VECS, Scheme SCHEME, class Body>
RANVIER_INLINE void for_each_stored(const Operands<typename V::Element>& o, Body&& body) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
        if (SCHEME == Scheme::packed_a && i >= o.stored_rows) break;
        typename V::Element* c = o.c + i * o.c_row_stride;
#pragma GCC unroll 16
        for (int v = 0; v < VECS; ++v, c += V::kLanes) body(i, v, c, v == VECS - 1);
    }
}

template <class V, int ROWS, int VECS, bool MASKED, Scheme SCHEME>
void tile(const Operands<typename V::Element>& o) {
    using T = typename V::Element;
    if (SCHEME == Scheme::packed_a)  // c comes from afar, and is not needed before the depth has run by
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            __builtin_prefetch(o.c + i * o.c_row_stride);
            __builtin_prefetch(o.c + i * o.c_row_stride + VECS * V::kLanes - 1);
        }
    Sums<V, ROWS, VECS> sum = {};
    if (SCHEME == Scheme::strides && o.resume)
        for_each_stored<V, ROWS, VECS, SCHEME>(
            o, [&](int i, int v, T* c, bool masked) __attribute__((always_inline)) {
                sum[i][v] = MASKED && masked ? V::load_partial(c, o.last_cols) : V::load(c);
            });
    add_products<V, ROWS, VECS, MASKED, SCHEME>(o, sum);
    // All of c is read before any of it is written: a masked store holds up loads of what it leaves alone.
    if (o.accumulate)
        for_each_stored<V, ROWS, VECS, SCHEME>(
            o, [&](int i, int v, T* c, bool masked) __attribute__((always_inline)) {
                sum[i][v] = (MASKED && masked ? V::load_partial(c, o.last_cols) : V::load(c)) + sum[i][v];
            });
    for_each_stored<V, ROWS, VECS, SCHEME>(
        o, [&](int i, int v, T* c, bool masked) __attribute__((always_inline)) {
            if (SCHEME == Scheme::b_offsets && o.row_bias) sum[i][v] += V::broadcast(o.row_bias[i]);
            if (MASKED && masked)
                V::store_partial(c, sum[i][v], o.last_cols);
            else
                V::store(c, sum[i][v]);
        });
}

// The last columns of one row, up to eight vectors, in one tile: its loads then walk along the rows of B, and
// enough sums are under way.
template <class T, Scheme SCHEME, int VECS = 8>
RANVIER_INLINE void end_of_row(Operands<T>& o, index_t cols) {
    if constexpr (VECS > 1)
        if (cols <= (VECS - 1) * kLanes<T>) return end_of_row<T, SCHEME, VECS - 1>(o, cols);
    o.last_cols = cols - (VECS - 1) * kLanes<T>;
    tile<Wide<T>, 1, VECS, true, SCHEME>(o);
}

// How far a tile of so many vectors goes in B.
template <class T, int VECS>
RANVIER_INLINE index_t b_step(const Operands<T>& o) {
    return VECS < kTileVecs ? VECS * kLanes<T> : VECS / kTileVecs * o.b_panel_stride;
}

// All columns of ROWS rows, by tiles as wide as the registers allow, the last one masked. Moves o along.
template <class T, int ROWS, int VECS, Scheme SCHEME>
void row_of_tiles(Operands<T>& o, index_t cols) {
    constexpr index_t kCols = VECS * kLanes<T>;
    for (; cols >= kCols; cols -= kCols, o.b += b_step<T, VECS>(o), o.c += kCols)
        tile<Wide<T>, ROWS, VECS, false, SCHEME>(o);
    if (cols == 0) return;
    if constexpr (ROWS == 1 && VECS == 8) return end_of_row<T, SCHEME>(o, cols);
    if constexpr (VECS > 1) {
        if (cols <= kCols / 2) return row_of_tiles<T, ROWS, VECS / 2, SCHEME>(o, cols);
        // More than half: one masked tile, after the whole vectors that VECS / 2 leaves out.
        if (cols <= kCols - kLanes<T>) {
            tile<Wide<T>, ROWS, VECS / 2, false, SCHEME>(o);
            o.b += b_step<T, VECS / 2>(o);
            o.c += kCols / 2;
            return row_of_tiles<T, ROWS, VECS / 2, SCHEME>(o, cols - kCols / 2);
        }
    }
    o.last_cols = cols - (VECS - 1) * kLanes<T>;
    if constexpr (VECS == 1 && kHasHalf)
        if (cols <= Half<T>::kLanes) return tile<Half<T>, ROWS, 1, true, SCHEME>(o);
    tile<Wide<T>, ROWS, VECS, true, SCHEME>(o);
}

// The widest power of two of vectors that ROWS rows can keep in registers.
constexpr int vecs_for(int rows) {
    return rows * 8 <= kAccumulators ? 8 : rows * 4 <= kAccumulators ? 4 : kTileVecs;
}

template <class T>
using RowOfTiles = void (*)(Operands<T>& o, index_t cols);

template <class T, Scheme SCHEME, std::size_t... I>
constexpr auto tiles_by_rows(std::index_sequence<I...>) {
    struct {
        RowOfTiles<T> at[kTileRows];
    } table = {{row_of_tiles<T, I + 1, vecs_for(I + 1), SCHEME>...}};
    return table;
}
template <class T, Scheme SCHEME>
constexpr auto kTilesByRows = tiles_by_rows<T, SCHEME>(std::make_index_sequence<kTileRows>{});

// The rows of A in tiles: two even halves rather than a full tile and a sliver.
constexpr index_t next_rows(index_t rows) {
    return rows >= 2 * kTileRows || rows == kTileRows ? kTileRows : rows > kTileRows ? (rows + 1) / 2 : rows;
}

// The operands are changed in place: a copy of them would have to wait for what was just written to them,
// for as long as a product of small depth takes.
template <class T, Scheme SCHEME>
RANVIER_INLINE void multiply_rows(Operands<T> o, index_t rows, index_t cols) {
    const T* const b = o.b;
    T* c = o.c;
    while (rows > 0) {
        const index_t now = next_rows(rows);
        kTilesByRows<T, SCHEME>.at[now - 1](o, cols);
        o.a += now * o.a_row_stride;
        o.b = b;
        o.c = c += now * o.c_row_stride;
        if (SCHEME == Scheme::a_row_offsets) o.offsets += now;
        if (SCHEME == Scheme::b_offsets && o.row_bias) o.row_bias += now;
        rows -= now;
    }
}

template <class T>
void multiply_unpacked(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                       index_t a_col_stride, const T* b, index_t b_row_stride, T* c, index_t c_row_stride,
                       bool accumulate) {
    multiply_rows<T, Scheme::strides>(
        {depth, a, a_row_stride, a_col_stride, b, b_row_stride, c, c_row_stride, nullptr, 0, 0, accumulate},
        rows, cols);
}

template <class T>
void multiply_panel(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                    const T* panel, T* c, index_t c_row_stride, bool accumulate) {
    multiply_rows<T, Scheme::packed_b>(
        {depth, a, a_row_stride, 1, panel, cols, c, c_row_stride, nullptr, 0, 0, accumulate}, rows, cols);
}

// Up to so many rows go in strips, of as many rows of B as registers can hold a strip's elements of A for.
constexpr int kStripRows = ceil_div(kTileRows, 4);
constexpr int strip_steps(int rows) { return rows * 8 <= kAccumulators ? 8 : kAccumulators / rows; }

// ROWS rows times STEPS rows of B, all columns. Each row of B is read by an instruction of its own: so the
// processor sees as many runs through memory, and fetches ahead.
template <class T, int ROWS, int STEPS>
void strip(const Operands<T>& o, index_t cols) {
    Vec<T> a[ROWS][STEPS];
    const T* b[STEPS];
#pragma GCC unroll 16
    for (int p = 0; p < STEPS; ++p) {
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) a[i][p] = broadcast(o.a[i * o.a_row_stride + p * o.a_col_stride]);
        b[p] = o.b + p * o.b_row_stride;
    }
    T* c[ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) c[i] = o.c + i * o.c_row_stride;
    const bool resume = o.resume;
    const auto columns = [&](index_t j, auto&& get, auto&& put) __attribute__((always_inline)) {
        Vec<T> sum[ROWS];
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) sum[i] = resume ? get(c[i] + j) : Vec<T>{};
#pragma GCC unroll 16
        for (int p = 0; p < STEPS; ++p) {
            const Vec<T> row = in_register<ROWS>(get(b[p] + j));
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; ++i) sum[i] = fma(a[i][p], row, sum[i]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) put(c[i] + j, sum[i]);
    };
    index_t j = 0;
    for (; j + kLanes<T> <= cols; j += kLanes<T>)
        columns(
            j, [](const T* from) { return load(from); }, [](T* to, Vec<T> v) { store(to, v); });
    if (const index_t left = cols - j; left > 0)
        columns(
            j, [&](const T* from) { return load_partial(from, left); },
            [&](T* to, Vec<T> v) { store_partial(to, v, left); });
}

template <class T, int ROWS, std::size_t... I>
RANVIER_INLINE void strips(Operands<T> o, index_t cols, std::index_sequence<I...>) {
    constexpr int kSteps = sizeof...(I);
    static constexpr void (*kBySteps[kSteps])(const Operands<T>&, index_t) = {strip<T, ROWS, I + 1>...};
    for (index_t left = o.depth; left > 0; left -= kSteps) {
        kBySteps[(left < kSteps ? left : kSteps) - 1](o, cols);
        o.a += kSteps * o.a_col_stride;
        o.b += kSteps * o.b_row_stride;
        o.resume = true;
    }
}

template <class T, int ROWS = 1>
void strips_of_rows(const Operands<T>& o, index_t rows, index_t cols) {
    if constexpr (ROWS < kStripRows)
        if (rows > ROWS) return strips_of_rows<T, ROWS + 1>(o, rows, cols);
    strips<T, ROWS>(o, cols, std::make_index_sequence<strip_steps(ROWS)>{});
}

template <class T>
void multiply_strip(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                    index_t a_col_stride, const T* b, index_t b_row_stride, T* c, index_t c_row_stride,
                    bool resume) {
    const Operands<T> o = {
        depth, a,     a_row_stride, a_col_stride, b,     b_row_stride, c, c_row_stride, nullptr, 0,
        0,     false, nullptr,      kTileCols<T>, resume};
    if (rows <= kStripRows) return strips_of_rows<T>(o, rows, cols);
    multiply_rows<T, Scheme::strides>(o, rows, cols);
}

// One row times two blocks of the depth at once: with so few sums, each step would wait for the one before.
template <class T, int VECS>
void row_of_two_blocks(Operands<T> o, index_t cols, index_t second_depth) {
    const index_t last_cols = cols - (VECS - 1) * kLanes<T>;
    Vec<T> first[1][VECS] = {}, second[1][VECS] = {};
    const T *a2 = o.a + o.depth, *b2 = o.b + o.depth * o.b_row_stride;
    const auto step = [&](const T* row, const T* element, auto& sum) __attribute__((always_inline)) {
        add_outer_product<Wide<T>, 1, VECS, true>(
            row, o.b_panel_stride, last_cols, [&](int) { return *element; }, sum);
    };
    index_t p = 0;
    for (; p < second_depth; ++p) {
        step(o.b + p * o.b_row_stride, o.a + p, first);
        step(b2 + p * o.b_row_stride, a2 + p, second);
    }
    for (; p < o.depth; ++p) step(o.b + p * o.b_row_stride, o.a + p, first);
    T* c = o.c;
#pragma GCC unroll 16
    for (int v = 0; v < VECS; ++v, c += kLanes<T>) {
        const index_t count = v == VECS - 1 ? last_cols : kLanes<T>;
        const Vec<T> sum = o.accumulate ? load_partial(c, count) + first[0][v] : first[0][v];
        store_partial(c, sum + second[0][v], count);
    }
}

template <class T, int VECS = 4>
RANVIER_INLINE void columns_of_two_blocks(const Operands<T>& o, index_t cols, index_t second_depth) {
    if constexpr (VECS > 1)
        if (cols <= (VECS - 1) * kLanes<T>) return columns_of_two_blocks<T, VECS - 1>(o, cols, second_depth);
    row_of_two_blocks<T, VECS>(o, cols, second_depth);
}

template <class T>
void multiply_row(index_t cols, index_t depth, index_t block, const T* a, const T* b, index_t b_row_stride,
                  index_t b_panel_stride, T* c, bool accumulate) {
    constexpr int kVecs = 4;
    Operands<T> o = {block, a,       1, 1, b,          b_row_stride, c,
                     0,     nullptr, 0, 0, accumulate, nullptr,      b_panel_stride};
    for (index_t left = cols; left > 0; left -= kVecs * kLanes<T>, o.c += kVecs * kLanes<T>) {
        const index_t width = left < kVecs * kLanes<T> ? left : kVecs * kLanes<T>;
        for (index_t p = 0; p < depth; p += 2 * block) {
            o.depth = depth - p < block ? depth - p : block;
            o.a = a + p;
            o.b = b + p * b_row_stride;
            o.accumulate = accumulate || p > 0;
            const index_t behind = depth - p - o.depth;
            columns_of_two_blocks(o, width, behind < block ? behind : block);
        }
        b += b_step<T, kVecs>(o);
    }
}

template <class T>
void multiply_b_by_offsets(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                           index_t a_col_stride, const T* b, const index_t* b_offsets, T* c,
                           index_t c_row_stride, bool accumulate, const T* row_bias) {
    multiply_rows<T, Scheme::b_offsets>(
        {depth, a, a_row_stride, a_col_stride, b, 0, c, c_row_stride, b_offsets, 0, 0, accumulate, row_bias},
        rows, cols);
}

template <class T>
void multiply_a_rows_apart(index_t rows, index_t cols, index_t depth, const T* a, const index_t* a_offsets,
                           const T* b, index_t b_row_stride, T* c, index_t c_row_stride, bool accumulate) {
    multiply_rows<T, Scheme::a_row_offsets>(
        {depth, a, 0, 1, b, b_row_stride, c, c_row_stride, a_offsets, 0, 0, accumulate}, rows, cols);
}

template <class T>
void multiply_a_columns_apart(index_t rows, index_t cols, index_t depth, const T* a, const index_t* a_offsets,
                              const T* b, index_t b_row_stride, T* c, index_t c_row_stride, bool accumulate) {
    multiply_rows<T, Scheme::a_column_offsets>(
        {depth, a, 1, 0, b, b_row_stride, c, c_row_stride, a_offsets, 0, 0, accumulate}, rows, cols);
}

// For each panel of B (which stays in the first-level cache), all panels of A.
template <class T>
void multiply_packed(index_t rows, index_t cols, index_t depth, const T* packed_a, const T* packed_b,
                     index_t b_panel_stride, T* c, index_t c_row_stride, bool accumulate) {
    Operands<T> o = {depth,   nullptr,      1,       kTileRows, packed_b, kTileCols<T>,
                     nullptr, c_row_stride, nullptr, 0,         0,        accumulate};
    for (index_t j = 0; j < cols; j += kTileCols<T>, o.b += b_panel_stride) {
        const index_t width = cols - j < kTileCols<T> ? cols - j : kTileCols<T>;
        o.last_cols = width <= kLanes<T> ? width : width - kLanes<T>;
        for (index_t i = 0; i < rows; i += kTileRows) {
            o.a = packed_a + i * depth;
            o.c = c + i * c_row_stride + j;
            o.stored_rows = rows - i < kTileRows ? rows - i : kTileRows;
            if (width == kTileCols<T>)
                tile<Wide<T>, kTileRows, kTileVecs, false, Scheme::packed_a>(o);
            else if (width <= kLanes<T>)
                tile<Wide<T>, kTileRows, 1, true, Scheme::packed_a>(o);
            else
                tile<Wide<T>, kTileRows, kTileVecs, true, Scheme::packed_a>(o);
        }
    }
}

// Few rows take several panels at once, so that enough sums are under way.
template <class T>
void multiply_packed_b(index_t rows, index_t cols, index_t depth, const T* a, index_t a_row_stride,
                       index_t a_col_stride, const T* packed_b, index_t b_panel_stride, T* c,
                       index_t c_row_stride, bool accumulate) {
    const index_t step =
        rows <= kTileRows && vecs_for(static_cast<int>(rows)) > kTileVecs ? cols : kTileCols<T>;
    for (index_t j = 0; j < cols; j += step, packed_b += b_panel_stride)
        multiply_rows<T, Scheme::packed_b>(
            {depth, a, a_row_stride, a_col_stride, packed_b, kTileCols<T>, c + j, c_row_stride, nullptr, 0, 0,
             accumulate, nullptr, b_panel_stride},
            rows, cols - j < step ? cols - j : step);
}

// One panel: `lines` vectors of the operand, each `depth` long, become packed[p][line], with zeros for
// the lines from `lines` to LINES. Here the lines have gaps, and smaller ones between them.
template <class T, int LINES>
void pack_panel_gathered(index_t lines, index_t depth, const T* from, index_t line_stride,
                         index_t depth_stride, T* packed) {
    const index_t there = lines < LINES ? lines : LINES;
    for (index_t p = 0; p < depth; ++p, packed += LINES) {
        gather_line(there, from + p * depth_stride, line_stride, packed);
        for (index_t i = there; i < LINES; ++i) packed[i] = T{};
    }
}

// Puts `wanted` elements of v into a panel. Where others follow that are written later, a whole vector is
// stored, since a masked store takes many times as long on some processors.
template <class T>
RANVIER_INLINE void put_in_panel(T* to, Vec<T> v, index_t wanted, bool others_follow) {
    if (wanted == kLanes<T> || others_follow)
        store(to, v);
    else
        store_partial(to, v, wanted);
}

// All panels if lines lie side by side, in order (STEP 1) or from the last to the first (-1): for each p a
// walk along the memory from begin(p), a piece for each panel.
template <class T, int LINES, int STEP = 1, class Begin>
RANVIER_INLINE void pack_panels_copied(index_t lines, index_t depth, Begin&& begin, T* packed) {
    for (index_t p = 0; p < depth; ++p, packed += LINES) {
        const T* from = begin(p);
        T* to = packed;
        for (index_t first = 0; first < lines; first += LINES, to += depth * LINES) {
            for (index_t i = 0; i < LINES; i += kLanes<T>) {
                const index_t wanted = LINES - i < kLanes<T> ? LINES - i : kLanes<T>;
                const index_t left = lines - first - i;
                const index_t there = left < 0 ? 0 : left < wanted ? left : wanted;
                const index_t loaded = left >= kLanes<T> ? kLanes<T> : there;
                const Vec<T> v = load_every(from + STEP * (first + i), STEP, loaded);
                put_in_panel(to + i, v, wanted, p + 1 < depth);
            }
        }
    }
}

// How many of the lines may be read by whole vectors from p on, since what lies behind a line's end is in
// memory between the lines. (A masked load does not have the processor fetch ahead.)
template <class T>
RANVIER_INLINE index_t lines_for_whole_loads(index_t lines, index_t depth, index_t line_stride, index_t p) {
    if (depth - p >= kLanes<T>) return lines;
    const index_t room = (lines - 1) * line_stride + depth - p - kLanes<T>;
    return line_stride > 0 && room >= 0 ? room / line_stride + 1 : 0;
}

// One panel if each line is contiguous, in order (STEP 1) or from the last element to the first (-1): squares
// of lanes transposed in registers. There are `lines` from here on, more than a panel's, perhaps.
template <class T, int LINES, int STEP = 1>
void pack_panel_transposed(index_t lines, index_t depth, const T* from, index_t line_stride, T* packed) {
    if (STEP < 0) from -= depth - 1;
    for (index_t p = 0; p < depth; p += kLanes<T>) {
        const index_t steps = depth - p < kLanes<T> ? depth - p : kLanes<T>;
        const index_t whole = lines_for_whole_loads<T>(lines, depth, line_stride, p);
        // The last lines first: what they store beyond their own place is written again.
        for (index_t i = (LINES - 1) / kLanes<T> * kLanes<T>; i >= 0; i -= kLanes<T>) {
            const index_t wanted = LINES - i < kLanes<T> ? LINES - i : kLanes<T>;
            const T* first = from + i * line_stride + p;
            Vec<T> square[kLanes<T>];
            if (i + kLanes<T> <= whole) {
#pragma GCC unroll 16
                for (int k = 0; k < kLanes<T>; ++k) square[k] = load(first + k * line_stride);
            } else {
#pragma GCC unroll 16
                for (int k = 0; k < kLanes<T>; ++k)
                    square[k] = i + k < lines ? load_some(first + k * line_stride, steps) : Vec<T>{};
            }
            transpose<T>(square);
#pragma GCC unroll 16
            for (int k = 0; k < kLanes<T>; ++k) {
                if (k >= steps) break;
                const index_t row = STEP > 0 ? p + k : depth - 1 - p - k;
                put_in_panel(packed + row * LINES + i, square[k], wanted, STEP > 0 && row + 1 < depth);
            }
        }
    }
}

// One panel of lines whose elements have gaps: a piece of each is copied first.
template <class T, int LINES>
void pack_panel_by_pieces(index_t lines, index_t depth, const T* from, index_t line_stride,
                          index_t depth_stride, T* packed) {
    constexpr index_t kPiece = 64;
    alignas(64) T piece[LINES * kPiece];
    const index_t there = lines < LINES ? lines : LINES;
    for (index_t p = 0; p < depth; p += kPiece) {
        const index_t steps = depth - p < kPiece ? depth - p : kPiece;
        for (index_t i = 0; i < there; ++i)
            gather_line(steps, from + i * line_stride + p * depth_stride, depth_stride, piece + i * kPiece);
        pack_panel_transposed<T, LINES>(there, steps, piece, kPiece, packed + p * LINES);
    }
}

constexpr index_t magnitude(index_t n) { return n < 0 ? -n : n; }

// Vectors run along the axis whose elements are nearer to each other.
template <class T, int LINES>
RANVIER_INLINE void pack_panels(index_t lines, index_t depth, const T* from, index_t line_stride,
                                index_t depth_stride, T* packed) {
    const auto begin = [&](index_t p) { return from + p * depth_stride; };
    if (line_stride == 1) return pack_panels_copied<T, LINES>(lines, depth, begin, packed);
    if (line_stride == -1) return pack_panels_copied<T, LINES, -1>(lines, depth, begin, packed);
    const bool along_lines = depth == 1 || magnitude(line_stride) < magnitude(depth_stride);
    for (; lines > 0; lines -= LINES, from += LINES * line_stride, packed += LINES * depth) {
        if (depth_stride == 1)
            pack_panel_transposed<T, LINES>(lines, depth, from, line_stride, packed);
        else if (depth_stride == -1)
            pack_panel_transposed<T, LINES, -1>(lines, depth, from, line_stride, packed);
        else if (along_lines)
            pack_panel_gathered<T, LINES>(lines, depth, from, line_stride, depth_stride, packed);
        else
            pack_panel_by_pieces<T, LINES>(lines, depth, from, line_stride, depth_stride, packed);
    }
}

template <class T>
void pack_a(index_t rows, index_t depth, const T* a, index_t row_stride, index_t col_stride, T* packed) {
    pack_panels<T, kTileRows>(rows, depth, a, row_stride, col_stride, packed);
}

template <class T>
void pack_a_columns_apart(index_t rows, index_t depth, const T* a, const index_t* a_offsets, T* packed) {
    pack_panels_copied<T, kTileRows>(
        rows, depth, [&](index_t p) { return a + a_offsets[p]; }, packed);
}

template <class T>
void pack_b(index_t depth, index_t cols, const T* b, index_t row_stride, index_t col_stride, T* packed) {
    pack_panels<T, kTileCols<T>>(cols, depth, b, col_stride, row_stride, packed);
}

template <class T>
void add_scalar(index_t n, T value, T* row) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put)
               __attribute__((always_inline)) { put(row, get(row) + broadcast(value)); });
}

template <class T>
void add_row(index_t n, const T* addend, T* row) {
    for_each_vector<T>(
        n, [&](auto&& get, auto&& put) __attribute__((always_inline)) { put(row, get(row) + get(addend)); });
}

// VECTORS vectors of columns, the last of which may be partial; their sums stay in registers.
template <class T, int VECTORS>
RANVIER_INLINE void add_vectors_of_columns(index_t rows, index_t cols, const T* a, index_t row_stride,
                                           T* sums) {
    constexpr index_t kLast = (VECTORS - 1) * kLanes<T>;
    const auto add = [&](auto&& get_last, auto&& put_last) __attribute__((always_inline)) {
        Vec<T> sum[VECTORS];
#pragma GCC unroll 8
        for (int k = 0; k + 1 < VECTORS; ++k) sum[k] = load(sums + k * kLanes<T>);
        sum[VECTORS - 1] = get_last(sums + kLast);
        for (index_t i = 0; i < rows; ++i, a += row_stride) {
#pragma GCC unroll 8
            for (int k = 0; k + 1 < VECTORS; ++k) sum[k] += load(a + k * kLanes<T>);
            sum[VECTORS - 1] += get_last(a + kLast);
        }
#pragma GCC unroll 8
        for (int k = 0; k + 1 < VECTORS; ++k) store(sums + k * kLanes<T>, sum[k]);
        put_last(sums + kLast, sum[VECTORS - 1]);
    };
    const index_t last = cols - kLast;
    if (last >= kLanes<T>)
        add([](const T* from) { return load(from); }, [](T* to, Vec<T> v) { store(to, v); });
    else
        add([&](const T* from) { return load_partial(from, last); },
            [&](T* to, Vec<T> v) { store_partial(to, v, last); });
}

template <class T, int VECTORS = 8>
void add_columns(index_t rows, index_t cols, const T* a, index_t row_stride, T* sums) {
    constexpr index_t kCols = VECTORS * kLanes<T>;
    for (; cols >= kCols; cols -= kCols, a += kCols, sums += kCols)
        add_vectors_of_columns<T, VECTORS>(rows, cols, a, row_stride, sums);
    if (cols > kCols - kLanes<T>)
        add_vectors_of_columns<T, VECTORS>(rows, cols, a, row_stride, sums);
    else if constexpr (VECTORS > 1)
        add_columns<T, VECTORS - 1>(rows, cols, a, row_stride, sums);
}

template <class T>
T sum(index_t n, const T* row) {
    return sum_lanes<T>(in_four_parts<T>(n, row, [](Vec<T> v, Vec<T> part) { return part + v; }));
}

template <class T>
T dot(index_t n, const T* x, const T* y) {
    Vec<T> part[4] = {};
    index_t i = 0;
    for (; i + 4 * kLanes<T> <= n; i += 4 * kLanes<T>)
        for (int k = 0; k < 4; ++k)
            part[k] = fma(load(x + i + k * kLanes<T>), load(y + i + k * kLanes<T>), part[k]);
    for (; i < n; i += kLanes<T>) {
        const index_t count = n - i < kLanes<T> ? n - i : kLanes<T>;
        part[0] = fma(load_partial(x + i, count), load_partial(y + i, count), part[0]);
    }
    return sum_lanes<T>((part[0] + part[1]) + (part[2] + part[3]));
}

template <class T>
double multiply_adds(index_t steps) {
    constexpr int kChains = 12;  // enough that none waits for another
    Vec<T> sum[kChains] = {};
    Vec<T> factor = broadcast(T(0.5)), addend = broadcast(T(1));
    asm volatile("" : "+m"(factor), "+m"(addend));
    const Vec<T> a = factor, b = addend;
    for (index_t i = 0; i < steps; ++i)
#pragma GCC unroll 12
        for (int k = 0; k < kChains; ++k) sum[k] = fma(sum[k], a, b);
    asm volatile("" : : "m"(sum) : "memory");
    return 2.0 * static_cast<double>(steps) * kChains * kLanes<T>;
}

}  // namespace

#define RANVIER_GEMM_KERNELS(T)                                                                        \
    {                                                                                                  \
        kTileRows, kTileCols<T>, kStripRows, pack_a<T>, pack_a_columns_apart<T>, pack_b<T>,            \
            multiply_packed<T>, multiply_packed_b<T>, multiply_panel<T>, multiply_unpacked<T>,         \
            multiply_strip<T>, multiply_row<T>, multiply_a_rows_apart<T>, multiply_a_columns_apart<T>, \
            multiply_b_by_offsets<T>, add_columns<T>, add_scalar<T>, add_row<T>, sum<T>, dot<T>,       \
            multiply_adds<T>                                                                           \
    }

constinit const GemmKernels<float> gemm_float32 = RANVIER_GEMM_KERNELS(float);
constinit const GemmKernels<double> gemm_float64 = RANVIER_GEMM_KERNELS(double);

}  // namespace ranvier::RANVIER_ISA
