// Casts between f32 and the narrow formats: one rounding to nearest-even, FP8 saturating, every NaN canonical.
#pragma once

#include "cuda.cuh"

// f32 to BF16; overflow is infinite.
DEVICE u16 bf16_from(f32 x) {
    const u32 b = bits(x);
    return is_nan(x) ? 0x7FFF : u16((b + 0x7FFF + ((b >> 16) & 1)) >> 16);
}

DEVICE f32 from_bf16(u16 code) { return from_bits(u32(code) << 16); }

#ifdef __CUDACC__
// f32 to f16; overflow is infinite.
DEVICE u16 f16_from(f32 x) {
    u16 code;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(x));
    return is_nan(x) ? 0x7FFF : code;
}

DEVICE f32 from_f16(u16 code) {
    f32 x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(code));
    return x;
}

// Two values at a time, the first in the low byte.
DEVICE u16 e4m3_pair(f32 low, f32 high) {
    u16 codes;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
    return codes;
}

DEVICE u16 e5m2_pair(f32 low, f32 high) {
    u16 codes;
    asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
    return codes;
}

DEVICE f32 from_e4m3(u8 code) {
    u32 halves;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(u16(code)));
    return from_f16(u16(halves));
}
#else
// The steps of a binary format of `fraction` bits whose smallest normal number is 2^min_exponent, and the exponent's
// field counted from it: what the code of a magnitude is, rounded to nearest-even.
DEVICE u32 round_magnitude(f32 magnitude, int fraction, int min_exponent) {
    const int field = int(bits(magnitude) >> 23) - 127;
    const int exponent = field > min_exponent ? field : min_exponent;
    // Adding 1.5 * 2^(23 - fraction) steps leaves the number of steps in the low bits.
    const f32 step_sum = from_bits(u32(exponent - fraction + 23 + 127) << 23 | 0x00400000);
    const u32 steps = bits(magnitude + step_sum) - bits(step_sum);
    return steps + (u32(exponent - min_exponent) << fraction);
}

DEVICE u16 f16_from(f32 x) {
    const u16 sign = u16((bits(x) & SIGN_BIT) >> 16);
    if (is_nan(x)) return 0x7FFF;
    if (absolute(x) >= 65520.0f) return sign | 0x7C00;
    return sign | u16(round_magnitude(absolute(x), 10, -14));
}

DEVICE f32 from_f16(u16 code) {
    const u32 sign = u32(code & 0x8000) << 16, magnitude = code & 0x7FFF;
    if (magnitude > 0x7C00) return nan_value();
    if (magnitude == 0x7C00) return from_bits(sign | INFINITY_BITS);
    // Scaled by 2^112, which also makes subnormals normal.
    return from_bits(sign | bits(from_bits(magnitude << 13) * 0x1p112f));
}

DEVICE u8 e4m3_from(f32 x) {
    if (is_nan(x)) return 0x7F;
    const f32 magnitude = absolute(x) < 448.0f ? absolute(x) : 448.0f;
    return u8((bits(x) & SIGN_BIT) >> 24 | round_magnitude(magnitude, 3, -6));
}

DEVICE u8 e5m2_from(f32 x) {
    if (is_nan(x)) return 0x7F;
    const f32 magnitude = absolute(x) < 57344.0f ? absolute(x) : 57344.0f;
    return u8((bits(x) & SIGN_BIT) >> 24 | round_magnitude(magnitude, 2, -14));
}

DEVICE u16 e4m3_pair(f32 low, f32 high) { return u16(e4m3_from(low) | e4m3_from(high) << 8); }
DEVICE u16 e5m2_pair(f32 low, f32 high) { return u16(e5m2_from(low) | e5m2_from(high) << 8); }

DEVICE f32 from_e4m3(u8 code) {
    const u32 sign = u32(code & 0x80) << 24, magnitude = code & 0x7F;
    if (magnitude == 0x7F) return nan_value();
    // Scaled by 2^120, which also makes subnormals normal.
    return from_bits(sign | bits(from_bits(magnitude << 20) * 0x1p120f));
}
#endif

// E5M2 is the upper half of f16.
DEVICE f32 from_e5m2(u8 code) { return from_f16(u16(u16(code) << 8)); }

// A power-of-two factor; 0 stands for 2^-127, 255 for NaN.
DEVICE f32 from_e8m0(u8 code) {
    return code == 0 ? from_bits(0x00400000) : code == 255 ? nan_value() : from_bits(u32(code) << 23);
}
