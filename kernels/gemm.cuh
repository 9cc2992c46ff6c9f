// The tile of a product that 256 threads compute: chains of fma over k ascending, one accumulator an output.
//
// The threads stand in 16 columns of 16 rows. Each has 8 rows of outputs by 4 or 8 columns, in fours that are 64 apart,
// so that what a warp reads of a panel lies side by side. Panels hold 16 steps of k in shared memory; the next ones are
// on their way to registers meanwhile. Steps beyond k are 0 * -0, which leaves every accumulator as it is.
#pragma once

#include "ptx/arith.cuh"
#include "view.cuh"

// Threads along rows, and along columns.
constexpr u32 SIDE = 16;
// Steps of k in shared memory at a time.
constexpr u32 STEPS = 16;
// Rows of a thread, and of a tile.
constexpr u32 MY_ROWS = 8, TILE_ROWS = SIDE * MY_ROWS;

// A matrix of vectors along k: [vectors, k], or [k, vectors] where k is first.
struct Operand {
    View x;
    u32 vectors, k;
    bool k_first;
};

// d [a.vectors, b.vectors] = the sum of products, from d or from +0.
struct Product {
    Operand a, b;
    View d;
    bool from_d;
};

struct alignas(16) Four {
    f32 v[4];
};

// Step by step, the values of neighbouring vectors.
template <u32 VECTORS> struct alignas(16) Panel {
    f32 v[STEPS][VECTORS];
};

// A thread's share of a panel, of the vectors from `first` on and the steps from `step` on: eight steps of a vector, or
// eight vectors at a step where k is first. `padding` stands for the steps beyond k, any number for missing vectors.
template <u32 VECTORS> DEVICE Group load_share(const Operand& m, u64 first, u64 step, f32 padding) {
    Group g = {};
    if (threadIdx.x >= VECTORS * STEPS / GROUP) return g;
    if (m.k_first) {
        const u64 vector = first + threadIdx.x % (VECTORS / GROUP) * GROUP, p = step + threadIdx.x / (VECTORS / GROUP);
        if (p < m.k) return load_group(part(m.x, p * m.vectors, m.vectors), vector);
#pragma unroll
        for (u32 i = 0; i < GROUP; i++) g.v[i] = padding;
        return g;
    }
    const u64 vector = first + threadIdx.x % VECTORS, p = step + threadIdx.x / VECTORS * GROUP;
    if (vector < m.vectors) g = load_group(part(m.x, vector * m.k, m.k), p);
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) g.v[i] = p + i < m.k ? g.v[i] : padding;
    return g;
}

// Puts what `load_share` gave where it belongs.
template <u32 VECTORS> DEVICE void store_share(Panel<VECTORS>& panel, const Group& g, bool k_first) {
    if (threadIdx.x >= VECTORS * STEPS / GROUP) return;
    if (k_first) {
        const u32 vector = threadIdx.x % (VECTORS / GROUP) * GROUP, p = threadIdx.x / (VECTORS / GROUP);
        Four* fours = reinterpret_cast<Four*>(&panel.v[p][vector]);
        fours[0] = {{g.v[0], g.v[1], g.v[2], g.v[3]}};
        fours[1] = {{g.v[4], g.v[5], g.v[6], g.v[7]}};
        return;
    }
    const u32 vector = threadIdx.x % VECTORS, p = threadIdx.x / VECTORS * GROUP;
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) panel.v[p + i][vector] = g.v[i];
}

// The outputs of a thread: 8 rows by COLS columns.
template <u32 COLS> struct Sums {
    f32 v[MY_ROWS][COLS];
};

// Where in a tile the i-th row or column of the thread stands that is the `side`-th along it.
DEVICE u32 place(u32 side, u32 i) { return i / 4 * (4 * SIDE) + side * 4 + i % 4; }
DEVICE u32 row_side() { return threadIdx.x / SIDE; }
DEVICE u32 col_side() { return threadIdx.x % SIDE; }

// The tile of this block: its first row and column.
template <u32 COLS> struct Tile {
    u32 row, col;

    DEVICE explicit Tile(const Product& x) {
        const u32 across = u32(ceil_div(x.b.vectors, SIDE * COLS));
        row = blockIdx.x / across * TILE_ROWS;
        col = blockIdx.x % across * (SIDE * COLS);
    }
};

// f(output, row, column) for the outputs of this thread that there are.
template <u32 COLS, class S, class F> DEVICE void for_outputs(const Product& x, const Tile<COLS>& tile, S& sums, F f) {
#pragma unroll
    for (u32 i = 0; i < MY_ROWS; i++) {
        const u64 row = u64(tile.row) + place(row_side(), i);
#pragma unroll
        for (u32 j = 0; j < COLS; j++) {
            const u64 col = u64(tile.col) + place(col_side(), j);
            if (row < x.a.vectors && col < x.b.vectors) f(sums.v[i][j], row, col);
        }
    }
}

template <u32 COLS> DEVICE Sums<COLS> start(const Product& x, const Tile<COLS>& tile) {
    Sums<COLS> sums = {};
    if (!x.from_d) return sums;
    by_float(x.d, [&](const View& d) {
        for_outputs(x, tile, sums, [&](f32& sum, u64 row, u64 col) { sum = load(d, row * x.b.vectors + col); });
    });
    return sums;
}

// d = epilogue(sum)
template <u32 COLS, class F>
DEVICE void finish(const Product& x, const Tile<COLS>& tile, const Sums<COLS>& sums, F epilogue) {
    by_float(x.d, [&](const View& d) {
        for_outputs(x, tile, sums, [&](f32 sum, u64 row, u64 col) {
            store(d, row * x.b.vectors + col, epilogue(sum));
        });
    });
}

// The values of this thread's rows or columns at a step.
template <u32 N> DEVICE void load_fragment(f32 (&values)[N], const f32* step, u32 side) {
#pragma unroll
    for (u32 i = 0; i < N; i += 4) {
        const Four four = *reinterpret_cast<const Four*>(step + place(side, i));
#pragma unroll
        for (u32 k = 0; k < 4; k++) values[i + k] = four.v[k];
    }
}

template <u32 COLS>
DEVICE void add_products(Sums<COLS>& sums, const Panel<TILE_ROWS>& a, const Panel<SIDE * COLS>& b) {
#pragma unroll
    for (u32 p = 0; p < STEPS; p++) {
        f32 rows[MY_ROWS], cols[COLS];
        load_fragment(rows, a.v[p], row_side());
        load_fragment(cols, b.v[p], col_side());
#pragma unroll
        for (u32 i = 0; i < MY_ROWS; i++) {
#pragma unroll
            for (u32 j = 0; j < COLS; j++) sums.v[i][j] = fma_rn(rows[i], cols[j], sums.v[i][j]);
        }
    }
}

// f(a, b, step) for the panels of 16 steps each from `step` on, ascending.
template <u32 COLS, class F> DEVICE void for_panels(const Product& x, const Tile<COLS>& tile, F f) {
    constexpr u32 TILE_COLS = SIDE * COLS;
    __shared__ Panel<TILE_ROWS> a;
    __shared__ Panel<TILE_COLS> b;
    Group next_a = load_share<TILE_ROWS>(x.a, tile.row, 0, 0.0f);
    Group next_b = load_share<TILE_COLS>(x.b, tile.col, 0, -0.0f);
    const u32 panels = u32(ceil_div(x.a.k, STEPS));
    for (u32 panel = 0; panel < panels; panel++) {
        const u64 step = u64(panel) * STEPS;
        // The panels before these have been used.
        __syncthreads();
        store_share(a, next_a, x.a.k_first);
        store_share(b, next_b, x.b.k_first);
        __syncthreads();
        next_a = load_share<TILE_ROWS>(x.a, tile.row, step + STEPS, 0.0f);
        next_b = load_share<TILE_COLS>(x.b, tile.col, step + STEPS, -0.0f);
        f(a, b, step);
    }
}
