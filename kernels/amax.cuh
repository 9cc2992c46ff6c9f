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

// x, or f32's maximum where x is larger or NaN.
DEVICE f32 at_most_largest(f32 x) { return x < from_bits(LARGEST_BITS) ? x : from_bits(LARGEST_BITS); }

// The factor that brings magnitudes up to amax, which is given by its bits, into a format whose largest is fp_max.
DEVICE f32 scale_for(u32 rule, u32 amax, f32 fp_max) {
    if (rule == NONE || amax == 0 || amax >= INFINITY_BITS) return 1.0f;
    const f32 quotient = at_most_largest(div_rn(fp_max, from_bits(amax)));
    return rule == EXACT ? quotient : from_bits(larger(bits(quotient) & INFINITY_BITS, SMALLEST_NORMAL_BITS));
}
