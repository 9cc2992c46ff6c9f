// The sum over rows of each column, of docs/numerics.md: chunks of 256 rows, then a binary tree over the chunks.
#pragma once

#include "reduce.cuh"

constexpr u64 CHUNK_ROWS = 256;

// The sums of the chunks [N, chunks, cols] of term(r, j), N sums side by side; a thread takes one column of one chunk.
template <u32 N, class F> DEVICE void sum_chunks_of_rows(u64 rows, u64 cols, void* sums, F term) {
    const u64 tiles = ceil_div(cols, LANES), chunks = ceil_div(rows, CHUNK_ROWS);
    const u64 chunk = blockIdx.x / tiles, j = blockIdx.x % tiles * LANES + threadIdx.x;
    if (j >= cols) return;
    const u64 first = chunk * CHUNK_ROWS;
    const u64 n = smaller(CHUNK_ROWS, rows - first);
    const Values<N> values = ascending_sums<N>(n, [&](u64 r) { return term(first + r, j); });
#pragma unroll
    for (u32 s = 0; s < N; s++) static_cast<f32*>(sums)[(s * chunks + chunk) * cols + j] = values.v[s];
}

// The sum of column j of a matrix [chunks, cols] by the tree; its first row takes the sums of the others.
DEVICE f32 sum_by_tree(u64 chunks, u64 cols, f32* sums, u64 j) {
    for (u64 width = 1; width < chunks; width *= 2) {
        for (u64 chunk = 0; chunk + width < chunks; chunk += 2 * width) {
            f32* left = sums + chunk * cols + j;
            *left = add_rn(*left, left[width * cols]);
        }
    }
    return chunks > 0 ? sums[j] : 0.0f;
}
