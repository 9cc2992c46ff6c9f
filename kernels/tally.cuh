// What quantisation tells of a tensor beside its codes: the largest magnitude, and how many elements FP8 has not held.
#pragma once

#include "amax.cuh"
#include "ptx/memory.cuh"
#include "view.cuh"

// The largest finite value of a format of FP8.
DEVICE f32 fp8_max(u32 dtype) { return dtype == E4M3 ? 448.0f : 57344.0f; }

// The largest magnitude that is rounded to 0: half the smallest step, the tie going to the even code.
DEVICE f32 vanishing(u32 dtype) { return dtype == E4M3 ? 0x1p-10f : 0x1p-17f; }

struct Tally {
    // The largest magnitude as bits, NaN above infinity.
    u32 amax;
    // Elements beyond the format's largest value before the cast, and those other than 0 before it and 0 after it.
    u32 over, under;

    // Takes a value into account, with what becomes of it.
    DEVICE void take(f32 x, bool saturates, bool vanishes) {
        amax = larger(amax, magnitude_bits(x));
        over += saturates;
        under += x != 0.0f && vanishes;
    }
};

DEVICE Tally warp_tally(const Tally& x) { return {warp_max(x.amax), warp_sum(x.over), warp_sum(x.under)}; }

// The tally of the block, in the threads of its first warp; the block is of whole warps.
DEVICE Tally block_tally(const Tally& x) {
    __shared__ Tally warps[WARP];
    const Tally own = warp_tally(x);
    if (lane_number() == 0) warps[threadIdx.x / WARP] = own;
    __syncthreads();
    if (threadIdx.x >= WARP) return own;
    Tally other = {};
    if (threadIdx.x < blockDim.x / WARP) other = warps[threadIdx.x];
    return warp_tally(other);
}

// The integer that stands for a magnitude: NaN counts as infinite.
DEVICE u32 cut_magnitude(u32 x) { return (x & ~SIGN_BIT) < INFINITY_BITS ? x & ~SIGN_BIT : INFINITY_BITS; }

// Raises *amax. What was there may be no magnitude: then the first that comes makes it one. Most find nothing to raise,
// which a read tells without an atomic.
DEVICE void raise(u32* amax, u32 value) {
    const u32 old = atomic_load(amax), magnitude = cut_magnitude(old);
    if (magnitude != old) atomic_replace(amax, old, magnitude);
    if (cut_magnitude(value) > magnitude) atomic_max(amax, cut_magnitude(value));
}

DEVICE void count(u64* counter, u32 elements) {
    if (elements > 0) atomic_add(counter, elements);
}

// Adds the tallies of a block to those of the tensor. Every thread takes part, once in a launch.
DEVICE void record(const Tally& x, const View& amax, const View& counts) {
    const Tally block = block_tally(x);
    if (threadIdx.x != 0) return;
    raise(amax.as<u32>(), block.amax);
    count(counts.as<u64>(), block.over);
    count(counts.as<u64>() + 1, block.under);
}
