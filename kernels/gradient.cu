// Accumulation of gradients over micro-batches, and automatic scaling.
//
// Contract: exact. Accumulation reads x or code once, reads y once and writes it once.
// expects: add.rn.f32, mul.rn.f32

#include "ptx/arith.cuh"
#include "view.cuh"

// y[i] = y[i] + x[i]
extern "C" __global__ void __launch_bounds__(256) accumulate(View x, View y) {
    zip(y, x, y, [](f32 sum, f32 term) { return add_rn(sum, term); });
}

// y[i] = y[i] + code[i] * scale_inv[0]
extern "C" __global__ void __launch_bounds__(256) accumulate_dequantized(View code, View scale_inv, View y) {
    const f32 factor = load(scale_inv, 0);
    zip(y, code, y, [=](f32 sum, f32 value) { return add_rn(sum, mul_rn(value, factor)); });
}

// 2^(1/1000), rounded to f32.
constexpr u32 GROWTH = 0x3F8016B9;
constexpr f32 LARGEST_MU = 65536.0f, SMALLEST_MU = 1.0f / LARGEST_MU;
// Of so many elements one may overflow.
constexpr u64 ELEMENTS_AN_OVERFLOW = 100000;

// mu[0] halves where more than one of 100,000 elements overflowed, on the ranks before the sum or in it, else it grows,
// within its bounds.
extern "C" __global__ void __launch_bounds__(1)
    auto_scale(View counts, View largest, View skip, View mu, u64 elements, u64 casts) {
    if (skip.as<u32>()[0] != 0) return;
    // The same as count * 100,000 > elements, which might not fit 64 bits.
    const u64 allowed = elements / ELEMENTS_AN_OVERFLOW;
    const bool summed = casts > 0 && largest.as<u64>()[0] > allowed / casts;
    const bool overflows = counts.as<u64>()[0] > allowed || summed;
    const f32 next = mul_rn(load(mu, 0), overflows ? 0.5f : from_bits(GROWTH));
    // NaN stays.
    store(mu, 0, next < SMALLEST_MU ? SMALLEST_MU : next > LARGEST_MU ? LARGEST_MU : next);
}
