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

// Rounds the elements from i on, a multiple of 4, each by its word of the stream.
DEVICE void round_group(const Stream& stream, u32 dtype, u64 i, Group& g) {
    for (u32 first = 0; first < GROUP; first += 4) {
        const Words random = stream.words(i + first);
        for (u32 k = 0; k < 4; k++) g.v[first + k] = round_stochastically(dtype, g.v[first + k], random.w[k]);
    }
}
