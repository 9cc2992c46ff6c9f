// The largest magnitude, and the scale that follows from it: docs/numerics.md, section Quantisation.
//
// Magnitudes are compared as the integers of their bits, so their order is that of numbers and NaN is the largest.
#pragma once

#include "ptx/arith.cuh"
#include "ptx/shuffle.cuh"

// How a scale follows from amax, as launches number it. `EXPAND` gives groups of a tensor a range each, and no scale.
enum Rule : u32 { NONE, EXACT, POW2, EXPAND };

constexpr u32 SMALLEST_NORMAL_BITS = 0x00800000, LARGEST_BITS = 0x7F7FFFFF;

DEVICE u32 larger(u32 a, u32 b) { return a > b ? a : b; }
DEVICE u32 magnitude_bits(f32 x) { return bits(x) & ~SIGN_BIT; }

// The largest of the block, in the threads of its first warp; the block is of whole warps.
DEVICE u32 block_max(u32 value) {
    __shared__ u32 warps[WARP];
    value = warp_max(value);
    // Nobody reads what stood here before any more.
    __syncthreads();
    if (lane_number() == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    if (threadIdx.x >= WARP) return value;
    return warp_max(threadIdx.x < blockDim.x / WARP ? warps[threadIdx.x] : 0);
}

// The factor that brings magnitudes up to amax, which is given by its bits, into a format whose largest is fp_max.
DEVICE f32 scale_for(u32 rule, u32 amax, f32 fp_max) {
    if (rule == NONE || amax == 0 || amax >= INFINITY_BITS) return 1.0f;
    const u32 quotient = bits(div_rn(fp_max, from_bits(amax)));
    const u32 finite = quotient < LARGEST_BITS ? quotient : LARGEST_BITS;
    return from_bits(rule == EXACT ? finite : larger(finite & INFINITY_BITS, SMALLEST_NORMAL_BITS));
}
