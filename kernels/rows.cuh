// A row of a matrix by the threads of a block together: each takes groups of eight elements, 16 bytes of BF16.
#pragma once

#include "reduce.cuh"
#include "view.cuh"

// f(r) for the rows that are this block's.
template <class F> DEVICE void for_rows(u64 rows, F f) {
    for (u64 r = blockIdx.x; r < rows; r += gridDim.x) f(r);
}

// f(j) for the first column of each of this thread's groups.
template <class F> DEVICE void for_groups(u64 cols, F f) {
    for (u64 j = u64(threadIdx.x) * GROUP; j < cols; j += u64(blockDim.x) * GROUP) f(j);
}

// A group of every thread, where lanes find their values.
template <u32 THREADS> DEVICE Group* tile() {
    __shared__ Group groups[THREADS];
    return groups;
}

// What this thread's lane adds up of the values from `first` to `end`; group(j) are those from j on. Lanes never hold
// -0, so the zeros after `end` change none.
template <u32 THREADS, class F> DEVICE f32 lane_sum_of_groups(u64 first, u64 end, F group) {
    Group* groups = tile<THREADS>();
    f32 sum = 0.0f;
    for (; first < end; first += THREADS * GROUP) {
        const u64 j = first + threadIdx.x * GROUP;
        Group mine = {};
        if (j < end) mine = group(j);
        // The tile before this one has been added.
        __syncthreads();
        groups[threadIdx.x] = group_of([&](u32 k) { return j + k < end ? mine.v[k] : 0.0f; });
        __syncthreads();
        if (threadIdx.x >= LANES) continue;
        const f32* lane = groups->v + threadIdx.x;
#pragma unroll 8
        for (u32 k = 0; k < THREADS * GROUP; k += LANES) sum = add_rn(sum, lane[k]);
    }
    return sum;
}

// The canonical sum of n values, in every one of THREADS threads, at least 128; group(j) are those from j on, j a
// multiple of 8.
template <u32 THREADS, class F> DEVICE f32 sum_of_groups(u64 n, F group) {
    return sum_by_chunks(
        n, [&](u64 first, u64 end) { return lane_sum_of_groups<THREADS>(first, end, group); });
}
