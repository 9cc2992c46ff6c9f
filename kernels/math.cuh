// exp, log and tanh of f32: the sequences of docs/numerics.md, operation by operation.
#pragma once

#include "ptx/arith.cuh"

constexpr u32 ROUNDER = 0x4B400000, LOG2_E = 0x3FB8AA3B, LN_2_HIGH = 0x3F317200, LN_2_LOW = 0x35BFBE8E;
constexpr u32 EXP_VANISHES = 0xC2CFF1B4;
constexpr i32 TWO_THIRDS = 0x3F2AAAAB;

DEVICE f32 step(f32 sum, f32 x, u32 coefficient) { return fma_rn(sum, x, from_bits(coefficient)); }

// (e^r - 1 - r) / r^2
DEVICE f32 exp_tail(f32 r) {
    f32 sum = from_bits(0x394F03D6);
    sum = step(sum, r, 0x3AB6A1BB);
    sum = step(sum, r, 0x3C088984);
    sum = step(sum, r, 0x3D2AAA78);
    sum = step(sum, r, 0x3E2AAAAA);
    return step(sum, r, 0x3F000000);
}

// (log(1 + f) - f) / f^2
DEVICE f32 log_tail(f32 f) {
    f32 sum = from_bits(0xBE0181C7);
    sum = step(sum, f, 0x3E0F734F);
    sum = step(sum, f, 0xBDFAB140);
    sum = step(sum, f, 0x3E0F5C6E);
    sum = step(sum, f, 0xBE2AC427);
    sum = step(sum, f, 0x3E4CE934);
    sum = step(sum, f, 0xBE7FFFB5);
    sum = step(sum, f, 0x3EAAAA80);
    return step(sum, f, 0xBF000000);
}

// x = n ln 2 + r, n the nearest integer to x / ln 2.
struct Reduced {
    i32 n;
    f32 r;
};

DEVICE Reduced reduce_exponent(f32 x) {
    const f32 shifted = fma_rn(x, from_bits(LOG2_E), from_bits(ROUNDER));
    const f32 n = sub_rn(shifted, from_bits(ROUNDER));
    const f32 r = fma_rn(n, -from_bits(LN_2_LOW), fma_rn(n, -from_bits(LN_2_HIGH), x));
    return {i32(bits(shifted) - ROUNDER), r};
}

DEVICE f32 power_of_two(i32 n) { return from_bits(u32(n + 127) << 23); }

DEVICE f32 exp_f32(f32 x) {
    if (x < from_bits(EXP_VANISHES)) return 0.0f;
    const Reduced z = reduce_exponent(x > 89.0f ? 89.0f : x);
    const f32 y = fma_rn(fma_rn(exp_tail(z.r), z.r, 1.0f), z.r, 1.0f);
    const i32 half = z.n >> 1;
    return mul_rn(mul_rn(y, power_of_two(half)), power_of_two(z.n - half));
}

DEVICE f32 log_f32(f32 x) {
    if (!(x > 0.0f)) return x == 0.0f ? -infinity() : nan_value();
    if (bits(x) == INFINITY_BITS) return x;
    const bool subnormal = x < from_bits(0x00800000);
    const f32 scaled = subnormal ? mul_rn(x, 8388608.0f) : x;
    const i32 offset = i32(bits(scaled)) - TWO_THIRDS;
    const f32 e = sub_rn(to_f32(offset >> 23), subnormal ? 23.0f : 0.0f);
    const f32 f = sub_rn(from_bits(u32((offset & 0x007FFFFF) + TWO_THIRDS)), 1.0f);
    const f32 tail = fma_rn(mul_rn(f, f), log_tail(f), mul_rn(e, from_bits(LN_2_LOW)));
    return fma_rn(e, from_bits(LN_2_HIGH), add_rn(f, tail));
}

DEVICE f32 tanh_f32(f32 x) {
    const f32 magnitude = absolute(x);
    const f32 a = magnitude > 10.0f ? 10.0f : magnitude;
    const Reduced z = reduce_exponent(add_rn(a, a));
    const f32 small = fma_rn(mul_rn(z.r, z.r), exp_tail(z.r), z.r);
    const f32 power = power_of_two(z.n);
    const f32 expm1 = fma_rn(power, small, sub_rn(power, 1.0f));
    return with_sign_of(div_rn(expm1, add_rn(expm1, 2.0f)), x);
}
