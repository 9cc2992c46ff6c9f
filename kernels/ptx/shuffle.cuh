// Exchange of values between the lanes of a warp. All 32 lanes take part.
#pragma once

#include "cuda.cuh"

DEVICE u32 lane_number() { return threadIdx.x % WARP; }

#ifdef __CUDACC__
// What lane `lane` holds.
DEVICE u32 from_lane(u32 value, u32 lane) { return __shfl_sync(0xFFFFFFFF, value, int(lane)); }
#else
DEVICE u32 from_lane(u32 value, u32 lane) { return shim_exchange(value, lane); }
#endif

DEVICE f32 from_lane(f32 value, u32 lane) { return from_bits(from_lane(bits(value), lane)); }

// What lies `distance` lanes further on, cyclically.
DEVICE f32 from_next_lane(f32 value, u32 distance) { return from_lane(value, (lane_number() + distance) % WARP); }

#ifdef __CUDACC__
// The largest of the warp, in every lane.
DEVICE u32 warp_max(u32 value) { return __reduce_max_sync(0xFFFFFFFF, value); }

// The sum over the warp, in every lane.
DEVICE u32 warp_sum(u32 value) { return __reduce_add_sync(0xFFFFFFFF, value); }
#else
DEVICE u32 warp_max(u32 value) {
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        const u32 other = from_lane(value, lane_number() ^ distance);
        value = value > other ? value : other;
    }
    return value;
}

DEVICE u32 warp_sum(u32 value) {
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) value += from_lane(value, lane_number() ^ distance);
    return value;
}
#endif
