// Rounding to one of the two neighbours in a format, the nearer the likelier: docs/numerics.md, section Stochastic
// rounding.
#pragma once

#include "math.cuh"
#include "philox.cuh"
#include "view.cuh"

// A binary format by its fraction bits, the exponent of its smallest normal number, and what is larger is cut to.
struct Grid {
    u32 fraction;
    i32 min_exponent;
    f32 limit;
};

// That of F16, E4M3 or E5M2; what reaches 2^16 becomes infinite in F16 when it is stored.
DEVICE Grid grid_of(u32 dtype) {
    return dtype == F16 ? Grid{10, -14, 65536.0f} : dtype == E4M3 ? Grid{3, -6, 448.0f} : Grid{2, -14, 57344.0f};
}

// One of the two neighbours of x on the grid, in f32.
DEVICE f32 round_on_grid(const Grid& grid, f32 x, u32 random) {
    const f32 magnitude = absolute(x) < grid.limit ? absolute(x) : grid.limit;
    const i32 own_exponent = i32(bits(magnitude) >> 23) - 127;
    const i32 exponent = own_exponent > grid.min_exponent ? own_exponent : grid.min_exponent;
    // Bits that do not fit. A subnormal of f32 has no implicit one, but loses far more than 32 bits anyway.
    const u32 lost = 23 - grid.fraction + u32(exponent - own_exponent);
    if (lost >= 32) return with_sign_of(0.0f, x);
    const u32 significand = (bits(magnitude) & 0x007FFFFF) | 0x00800000;
    const u32 steps = (significand + (random >> (32 - lost))) >> lost;
    return with_sign_of(mul_rn(to_f32(steps), power_of_two(exponent - i32(grid.fraction))), x);
}

// One of the two neighbours of x in a format of states, in f32.
DEVICE f32 round_stochastically(u32 dtype, f32 x, u32 random) {
    if (dtype == F32 || is_nan(x)) return x;
    if (dtype == BF16) return from_bits((bits(x) + (random >> 16)) & 0xFFFF0000);
    return round_on_grid(grid_of(dtype), x, random);
}

// The random words of a group.
struct GroupWords {
    u32 w[GROUP];
};

// The words of the elements from i on, where i may lie inside a block of four words.
DEVICE GroupWords group_words(const Stream& stream, u64 i) {
    const u32 skipped = u32(i % 4);
    const Words a = stream.words(i - skipped), b = stream.words(i - skipped + 4);
    const Words c = skipped > 0 ? stream.words(i - skipped + 8) : Words{};
    u32 words[12];
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
        words[k] = a.w[k];
        words[k + 4] = b.w[k];
        words[k + 8] = c.w[k];
    }
    // In two steps, so that no index is found at run time.
#pragma unroll
    for (u32 k = 0; k < 11; k++) words[k] = skipped & 1 ? words[k + 1] : words[k];
    GroupWords group;
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) group.w[k] = skipped & 2 ? words[k + 2] : words[k];
    return group;
}

// Rounds elements, each by its word.
DEVICE void round_group(const GroupWords& random, u32 dtype, Group& g) {
    for (u32 k = 0; k < GROUP; k++) g.v[k] = round_stochastically(dtype, g.v[k], random.w[k]);
}
