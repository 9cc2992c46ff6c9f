// FP8 values in groups of 128, each raised to a power that spreads it over its format's range (COAT, arXiv 2410.19313):
// `quantize_groups` and `dequantize_groups` of docs/numerics.md. Sixteen neighbours of a warp hold a group, eight
// elements each.
#pragma once

#include "amax.cuh"
#include "math.cuh"
#include "view.cuh"

// Elements of a group, and the threads that hold them.
constexpr u32 EXPANDED = 128, SHARERS = EXPANDED / GROUP;
// The exponent ends at 128.
constexpr f32 MOST_EIGHTHS = 1024.0f;

// A format's range.
struct Range {
    f32 fp_max;
    // 8 ln(largest / smallest value)
    f32 eight_logs;
};

DEVICE Range range_of(u32 dtype) {
    return dtype == E4M3 ? Range{448.0f, from_bits(0x42C57D69)} : Range{57344.0f, from_bits(0x4330609F)};
}

// The magnitude that becomes the format's largest, and the exponent.
struct Fit {
    f32 largest, exponent;
};

// The largest of the threads that share a group, in each of them.
DEVICE u32 sharers_max(u32 value) {
    for (u32 distance = SHARERS / 2; distance > 0; distance /= 2) {
        value = larger(value, from_lane(value, lane_number() ^ distance));
    }
    return value;
}

// What spreads a group over the range; elements that are not there are 0.
DEVICE Fit fit(const Range& range, const Group& g) {
    // Negated, one less makes zero the smallest of all integers, and the smallest magnitude the largest.
    u32 largest = 0, negated = 0;
    for (u32 k = 0; k < GROUP; k++) {
        largest = larger(largest, magnitude_bits(g.v[k]));
        negated = larger(negated, ~(magnitude_bits(g.v[k]) - 1));
    }
    largest = sharers_max(largest);
    const u32 smallest = ~sharers_max(negated) + 1;
    if (largest == 0 || largest >= INFINITY_BITS) return {range.fp_max, 1.0f};
    const f32 ratio = div_rn(from_bits(largest), from_bits(smallest));
    const f32 eighths = div_rn(range.eight_logs, log_f32(ratio));
    // Clamped to at least 1, so that the cast rounds down.
    const f32 clamped = eighths < 1.0f ? 1.0f : eighths > MOST_EIGHTHS ? MOST_EIGHTHS : eighths;
    return {from_bits(largest), mul_rn(to_f32(u32(clamped)), 0.125f)};
}

// to * (abs(x) / from)^exponent, with the sign of x.
DEVICE f32 raise(f32 x, f32 from, f32 exponent, f32 to) {
    const f32 power = exp_f32(mul_rn(exponent, log_f32(div_rn(absolute(x), from))));
    return with_sign_of(mul_rn(to, power), x);
}

// The values to be rounded to the format.
DEVICE void encode(const Range& range, const Fit& fit, Group& g) {
    for (u32 k = 0; k < GROUP; k++) g.v[k] = raise(g.v[k], fit.largest, fit.exponent, range.fp_max);
}

// What values of the format stand for.
DEVICE void decode(const Range& range, const Fit& fit, Group& g) {
    const f32 root = div_rn(1.0f, fit.exponent);
    for (u32 k = 0; k < GROUP; k++) g.v[k] = raise(g.v[k], range.fp_max, root, fit.largest);
}
