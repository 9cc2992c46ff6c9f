// The two products that attention is made of, on blocks of 64 positions, by 256 threads.
//
// Threads stand in 16 columns of 16 rows, and each has four rows by four columns of a square of 64 x 64. Dots are
// chains over the elements of two rows, which go through shared memory 32 at a time; elements beyond head_dim are
// 0 * -0 there, which leaves every chain as it is. Positions beyond the context are rows of +0, and take their place in
// every chain.
#pragma once

#include "ptx/arith.cuh"
#include "ptx/shuffle.cuh"
#include "view.cuh"

// Positions of a block.
constexpr u32 POSITIONS = 64;
// Elements of a row in shared memory at a time, where rows are multiplied with rows.
constexpr u32 DEPTH = 32;
// Columns of results that a block of threads has, in squares side by side.
constexpr u32 SQUARES = 2, COLUMNS = SQUARES * POSITIONS;
// Threads along rows, and along columns, with so many values each.
constexpr u32 SIDE = 16, MINE = 4;

struct alignas(16) Four {
    f32 v[MINE];
};

struct alignas(16) Square {
    f32 v[POSITIONS][POSITIONS];
};

// A thread's part of a square.
struct Part {
    f32 v[MINE][MINE];
};

// A thread's part of the results.
struct Sums {
    Part square[SQUARES];
};

DEVICE u32 my_row() { return threadIdx.x / SIDE * MINE; }
DEVICE u32 my_column() { return threadIdx.x % SIDE * MINE; }

// f(value, row, column) for a thread's part of a square.
template <class P, class F> DEVICE void for_part(P& mine, F f) {
#pragma unroll
    for (u32 i = 0; i < MINE; i++) {
#pragma unroll
        for (u32 j = 0; j < MINE; j++) f(mine.v[i][j], my_row() + i, my_column() + j);
    }
}

DEVICE void store_part(Square& square, const Part& mine) {
#pragma unroll
    for (u32 i = 0; i < MINE; i++) {
        const Four four = {{mine.v[i][0], mine.v[i][1], mine.v[i][2], mine.v[i][3]}};
        *reinterpret_cast<Four*>(&square.v[my_row() + i][my_column()]) = four;
    }
}

// The rows of one head of one sequence in a tensor [tokens, parts, heads, head_dim].
struct Rows {
    View x;
    u64 first, stride;
    u32 context, head_dim;

    DEVICE u64 at(u64 position) const { return first + position * stride; }

    // Elements d to d + 7 at a position, zeros where there are none.
    DEVICE Group group(u64 position, u64 d) const {
        Group g = {};
        // Of one type at a time: the ways of both together would not fit the registers.
        if (position < context) by_float(x, [&](const View& x) { g = load_group(part(x, at(position), head_dim), d); });
        return g;
    }
};

// What a block of threads computes: for one head of one sequence, a block of positions and some columns.
struct Task {
    u32 context, heads, head_dim;
    u64 sequence, head, block, blocks, column;

    // The first blocks of the grid take the first positions of all heads.
    DEVICE Task(u32 batch, u32 context, u32 heads, u32 head_dim) : context(context), heads(heads), head_dim(head_dim) {
        const u64 parts = ceil_div(head_dim, COLUMNS), units = u64(batch) * heads, unit = blockIdx.x / parts % units;
        sequence = unit / heads;
        head = unit % heads;
        column = blockIdx.x % parts * COLUMNS;
        block = blockIdx.x / parts / units;
        blocks = ceil_div(context, POSITIONS);
    }

    // The last positions first: what takes longest should not be begun last.
    DEVICE Task reversed() const {
        Task task = *this;
        task.block = blocks - 1 - block;
        return task;
    }

    DEVICE u64 first() const { return block * POSITIONS; }

    // Where [tokens, heads] has a position.
    DEVICE u64 place(u64 position) const { return (sequence * context + position) * heads + head; }

    DEVICE Rows rows(const View& x, u32 part, u32 parts) const {
        const u64 first = ((sequence * context * parts + part) * heads + head) * head_dim;
        return {x, first, u64(parts) * heads * head_dim, context, head_dim};
    }
};

// Puts elements d to d + 31 of 64 rows into shared memory, element by element.
DEVICE void stage_turned(f32 (*elements)[POSITIONS], const Rows& rows, u64 first, u64 d, f32 padding) {
    const u32 row = threadIdx.x % POSITIONS, k = threadIdx.x / POSITIONS * GROUP;
    const Group g = rows.group(first + row, d + k);
#pragma unroll
    for (u32 i = 0; i < GROUP; i++) elements[k + i][row] = d + k + i < rows.head_dim ? g.v[i] : padding;
}

// acc[i, j] = fma(a[i], b[j], acc[i, j]) for the rows and columns of this thread.
DEVICE void add_outer(Part& acc, const f32* a, const f32* b) {
    const Four left = *reinterpret_cast<const Four*>(a + my_row());
    const Four right = *reinterpret_cast<const Four*>(b + my_column());
#pragma unroll
    for (u32 i = 0; i < MINE; i++) {
#pragma unroll
        for (u32 j = 0; j < MINE; j++) acc.v[i][j] = fma_rn(left.v[i], right.v[j], acc.v[i][j]);
    }
}

// dot(a[i], b[j]) for the 64 rows of each from where they start: chains from +0 over the elements, ascending.
DEVICE Part dots(Square& memory, const Rows& a, u64 first_a, const Rows& b, u64 first_b) {
    Part acc = {};
    for (u64 d = 0; d < a.head_dim; d += DEPTH) {
        // What stood here has been used.
        __syncthreads();
        stage_turned(memory.v, a, first_a, d, 0.0f);
        stage_turned(memory.v + DEPTH, b, first_b, d, -0.0f);
        __syncthreads();
#pragma unroll 8
        for (u32 k = 0; k < DEPTH; k++) add_outer(acc, memory.v[k], memory.v[k + DEPTH]);
    }
    return acc;
}

// Puts elements d to d + 63 of 64 rows into shared memory, row by row.
DEVICE void stage(Square& memory, const Rows& rows, u64 first, u64 d) {
    constexpr u32 GROUPS = POSITIONS / GROUP, STRIDE = SIDE * SIDE / GROUPS;
    const u32 column = threadIdx.x % GROUPS * GROUP;
#pragma unroll 1
    for (u32 row = threadIdx.x / GROUPS; row < POSITIONS; row += STRIDE) {
        const Group g = rows.group(first + row, d + column);
        Four* fours = reinterpret_cast<Four*>(&memory.v[row][column]);
        fours[0] = {{g.v[0], g.v[1], g.v[2], g.v[3]}};
        fours[1] = {{g.v[4], g.v[5], g.v[6], g.v[7]}};
    }
}

// sums[i, d] = fma(weights[k, i], rows[k, d], sums[i, d]) for 64 k ascending, d from `column` on.
DEVICE void weigh(Sums& sums, const Square& weights, Square& memory, const Rows& rows, u64 first, u64 column) {
#pragma unroll
    for (u32 s = 0; s < SQUARES; s++) {
        const u64 d = column + s * POSITIONS;
        if (d >= rows.head_dim) break;
        // What stood here has been used.
        __syncthreads();
        stage(memory, rows, first, d);
        __syncthreads();
#pragma unroll 8
        for (u32 k = 0; k < POSITIONS; k++) add_outer(sums.square[s], weights.v[k], memory.v[k]);
    }
}

// Writes f(sum, i) to the 64 rows from `first` on, i the row's number among these.
template <class F> DEVICE void write_rows(const Rows& rows, u64 first, u64 column, const Sums& sums, F f) {
    by_float(rows.x, [&](const View& y) {
#pragma unroll
        for (u32 s = 0; s < SQUARES; s++) {
            for_part(sums.square[s], [&](f32 sum, u32 row, u32 offset) {
                const u64 d = column + s * POSITIONS + offset;
                if (first + row < rows.context && d < rows.head_dim) store(y, rows.at(first + row) + d, f(sum, row));
            });
        }
    });
}
