// Philox4x32-10 (Salmon et al., 2011): the random words behind stochastic rounding, docs/numerics.md.
#pragma once

#include "cuda.cuh"

struct Words {
    u32 w[4];
};

DEVICE u32 high_half(u64 x) { return u32(x >> 32); }

// Ten rounds on a counter of four words under a key of two.
DEVICE Words philox(Words counter, u64 key) {
    u32 low = u32(key), high = high_half(key);
    for (u32 round = 0; round < 10; round++) {
        const u64 first = u64(counter.w[0]) * 0xD2511F53, second = u64(counter.w[2]) * 0xCD9E8D57;
        const u32 a = high_half(second) ^ counter.w[1] ^ low, c = high_half(first) ^ counter.w[3] ^ high;
        counter = {{a, u32(second), c, u32(first)}};
        // Weyl sequences by the golden ratio and by sqrt(3) - 1.
        low += 0x9E3779B9;
        high += 0xBB67AE85;
    }
    return counter;
}

// The random words of one tensor in one draw.
struct Stream {
    u64 seed;
    u32 tensor, draw;

    // The words of elements i to i + 3, for an i that is a multiple of 4.
    DEVICE Words words(u64 i) const { return philox({{u32(i / 4), high_half(i / 4), tensor, draw}}, seed); }
};
