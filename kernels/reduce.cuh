// The orders of summation of docs/numerics.md: plain ascending sums, and the canonical sum, by the first 128 threads
// of a block: thread l is lane l.
#pragma once

#include "ptx/arith.cuh"
#include "ptx/shuffle.cuh"

constexpr u32 LANES = 128;
// The most values that one pass over the lanes takes.
constexpr u64 CHUNK = 65536;
// Terms that a thread reads before it adds them: memory answers late, but to many at once.
constexpr u32 AHEAD = 8;

template <u32 N> struct Values {
    f32 v[N];
};

// N sums side by side, from +0, of term(k) for k < n, ascending.
template <u32 N, class F> DEVICE Values<N> ascending_sums(u64 n, F term) {
    Values<N> sums = {}, terms[AHEAD];
    u64 k = 0;
    for (; k + AHEAD <= n; k += AHEAD) {
#pragma unroll
        for (u32 a = 0; a < AHEAD; a++) terms[a] = term(k + a);
#pragma unroll
        for (u32 a = 0; a < AHEAD; a++) {
#pragma unroll
            for (u32 s = 0; s < N; s++) sums.v[s] = add_rn(sums.v[s], terms[a].v[s]);
        }
    }
    for (; k < n; k++) {
        terms[0] = term(k);
#pragma unroll
        for (u32 s = 0; s < N; s++) sums.v[s] = add_rn(sums.v[s], terms[0].v[s]);
    }
    return sums;
}

// The sum of the lanes, w = 64, 32, ..., 1 apart; every thread gets it.
DEVICE f32 fold_lanes(f32 lane) {
    __shared__ f32 lanes[LANES];
    // Nobody reads what stood here before any more.
    __syncthreads();
    if (threadIdx.x < LANES) lanes[threadIdx.x] = lane;
    __syncthreads();
    if (threadIdx.x < WARP) {
        const u32 l = threadIdx.x;
        lane = add_rn(add_rn(lanes[l], lanes[l + 64]), add_rn(lanes[l + 32], lanes[l + 96]));
        for (u32 width = 16; width > 0; width /= 2) lane = add_rn(lane, from_next_lane(lane, width));
        if (l == 0) lanes[0] = lane;
    }
    __syncthreads();
    return lanes[0];
}

// What this thread's lane adds up of the values from `first` to `end`.
template <class F> DEVICE f32 lane_sum(u64 first, u64 end, F value) {
    const u64 mine = first + threadIdx.x;
    const u64 n = mine < end ? ceil_div(end - mine, LANES) : 0;
    return ascending_sums<1>(n, [&](u64 k) { return Values<1>{{value(mine + k * LANES)}}; }).v[0];
}

// The canonical sum of n values, in every thread; lane(first, end) is what this thread's lane adds up of a chunk, and
// n is below 2^32.
template <class F> DEVICE f32 sum_by_chunks(u64 n, F lane) {
    f32 outer = 0.0f;
    for (u64 first = 0; first < n; first += CHUNK) {
        const f32 sum = fold_lanes(lane(first, smaller(n, first + CHUNK)));
        if (n <= CHUNK) return sum;
        if (first / CHUNK % LANES == threadIdx.x) outer = add_rn(outer, sum);
    }
    return fold_lanes(outer);
}

// The canonical sum of value(i) for i < n, in every thread; n is below 2^32.
template <class F> DEVICE f32 canonical_sum(u64 n, F value) {
    return sum_by_chunks(n, [&](u64 first, u64 end) { return lane_sum(first, end, value); });
}
