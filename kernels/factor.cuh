// The factor that a block of neighbours shares: docs/numerics.md, section Quantisation.
#pragma once

#include "amax.cuh"
#include "view.cuh"

// How it follows from the block's largest finite magnitude, as launches number it.
enum FactorRule : u32 { OVER_MAX = 1, UE8M0, OCP, UP };

// What the largest magnitude of a tile or a block counts as at least.
constexpr u32 SMALLEST_LARGEST = 0x38D1B717;

// A magnitude as bits, 0 of what is not finite.
DEVICE u32 finite_bits(f32 x) { return is_finite(x) ? magnitude_bits(x) : 0; }

// 2^(exponent - 127), the exponent cut to those of normal numbers.
DEVICE f32 normal_power(i32 exponent) { return from_bits(u32(exponent < 1 ? 1 : exponent > 254 ? 254 : exponent) << 23); }

// The smallest power of two that is not below x.
DEVICE f32 power_up(f32 x) { return normal_power(i32(bits(x) >> 23) + ((bits(x) & 0x007FFFFF) != 0)); }

// Of a largest finite magnitude, given by its bits, for a format with this maximum.
DEVICE f32 factor_for(u32 rule, u32 largest, f32 fp_max) {
    switch (rule) {
    case OVER_MAX: return div_rn(from_bits(larger(largest, SMALLEST_LARGEST)), fp_max);
    case UE8M0: return power_up(div_rn(from_bits(larger(largest, SMALLEST_LARGEST)), fp_max));
    // The exponents of both, as the maximum's is that of its format.
    case OCP: return normal_power(i32(largest >> 23) - i32(bits(fp_max) >> 23) + 127);
    default: return power_up(div_rn(from_bits(largest), fp_max));
    }
}

DEVICE void store_factor(const View& y, u64 i, f32 factor) {
    if (y.dtype == E8M0) {
        y.as<u8>()[i] = u8(bits(factor) >> 23);
    } else {
        y.as<f32>()[i] = factor;
    }
}

// What values are divided by, or multiplied by its reciprocal: for powers of two that is the same, and faster.
struct Divisor {
    f32 factor, reciprocal;
    bool divides;

    DEVICE Divisor(f32 factor, u32 rule, bool divide)
        : factor(factor), reciprocal(div_rn(1.0f, factor)), divides(divide && rule == OVER_MAX) {}

    DEVICE f32 apply(f32 x) const { return divides ? div_rn(x, factor) : mul_rn(x, reciprocal); }
};

// A part of a row, from `col` on.
struct Place {
    u64 row, col;
    bool exists;
};

// Part `number` of a matrix, row after row, each in parts of `width` columns.
DEVICE Place place_of(u64 number, u32 rows, u32 cols, u32 width) {
    const u64 across = ceil_div(cols, width);
    if (across == 0) return {};
    // Most numbers fit 32 bits, whose division is several times as fast.
    const u64 row = number >> 32 == 0 ? u32(number) / u32(across) : number / across;
    return {row, (number - row * across) * width, row < rows};
}

// The row of a place, or nothing.
DEVICE View row_at(const View& x, const Place& at, u64 width) {
    return part(x, at.exists ? at.row * width : 0, at.exists ? width : 0);
}
