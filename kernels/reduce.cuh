// The canonical sum of docs/numerics.md, by a block of 128 threads: thread l is lane l.
#pragma once

#include "ptx/arith.cuh"
#include "ptx/shuffle.cuh"

constexpr u32 LANES = 128;
// The most values that one pass over the lanes takes.
constexpr u64 CHUNK = 65536;

// The sum of the lanes, w = 64, 32, ..., 1 apart; every thread gets it.
DEVICE f32 fold_lanes(f32 lane) {
    __shared__ f32 lanes[LANES];
    // Nobody reads what stood here before any more.
    __syncthreads();
    lanes[threadIdx.x] = lane;
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
    f32 sum = 0.0f;
    for (u64 i = first + threadIdx.x; i < end; i += LANES) sum = add_rn(sum, value(i));
    return sum;
}

// The canonical sum of value(i) for i < n, in every thread; n is below 2^32.
template <class F> DEVICE f32 canonical_sum(u64 n, F value) {
    if (n <= CHUNK) return fold_lanes(lane_sum(0, n, value));
    f32 outer = 0.0f;
    for (u64 chunk = 0; chunk * CHUNK < n; chunk++) {
        const u64 first = chunk * CHUNK;
        const f32 sum = fold_lanes(lane_sum(first, smaller(n, first + CHUNK), value));
        if (chunk % LANES == threadIdx.x) outer = add_rn(outer, sum);
    }
    return fold_lanes(outer);
}
