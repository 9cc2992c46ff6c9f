// What collectives compute: values of several ranks reduced, with one rounding or with one at each hop, and counts.
//
// Contract: exact given order, and exact. Each reads its inputs once and writes once.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, cvt.rn.f16x2.e4m3x2, add.rn.f32, mul.rn.f32

#include "tally.cuh"

enum Operation : u32 { SUM, PRODUCT, MINIMUM, MAXIMUM };
// The codes of 448 and of 57,344.
constexpr u8 E4M3_LARGEST = 0x7E, E5M2_LARGEST = 0x7B;

// Orders numbers as integers, -0 below +0.
DEVICE i32 rank_of(f32 x) {
    const i32 b = i32(bits(x));
    return b < 0 ? b ^ 0x7FFFFFFF : b;
}

DEVICE f32 extreme(f32 a, f32 b, bool largest) {
    if (is_nan(a)) return b;
    if (is_nan(b)) return a;
    return (rank_of(a) < rank_of(b)) == largest ? b : a;
}

DEVICE f32 combined(f32 a, f32 b, u32 op) {
    switch (op) {
    case SUM: return add_rn(a, b);
    case PRODUCT: return mul_rn(a, b);
    default: return extreme(a, b, op == MAXIMUM);
    }
}

// The reduction over all rows of `n` elements, this thread's group of it.
DEVICE Group reduced(const View& code, u64 n, u64 i, u32 ranks, u32 op) {
    // What leaves the first operand as it is: a number loses to none, NaN to each.
    const f32 start = op == SUM ? 0.0f : op == PRODUCT ? 1.0f : nan_value();
    Group sum;
    for (u32 k = 0; k < GROUP; k++) sum.v[k] = start;
    for (u32 rank = 0; rank < ranks; rank++) {
        const Group term = load_group(part(code, rank * n, n), i);
        for (u32 k = 0; k < GROUP; k++) sum.v[k] = combined(sum.v[k], term.v[k], op);
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(256) reduce_ranks(View code, View scale, View y, u32 ranks, u32 op) {
    const u64 n = y.elements, i = thread_number() * GROUP;
    if (i >= n) return;
    const f32 factor = load(scale, 0);
    Group sum = reduced(code, n, i, ranks, op);
    for (u32 k = 0; k < GROUP; k++) sum.v[k] = mul_rn(sum.v[k], factor);
    store_group(y, i, sum);
}

extern "C" __global__ void __launch_bounds__(256) amax_ranks(View code, View amax, u32 ranks, u32 op) {
    const u64 n = code.elements / ranks, i = thread_number() * GROUP;
    u32 largest = 0;
    if (i < n) {
        const Group sum = reduced(code, n, i, ranks, op);
        for (u32 k = 0; k < GROUP && i + k < n; k++) largest = larger(largest, magnitude_bits(sum.v[k]));
    }
    largest = block_max(largest);
    if (threadIdx.x == 0) raise(amax.as<u32>(), largest);
}

extern "C" __global__ void __launch_bounds__(256) combine(View a, View b, View y, u32 op) {
    zip(a, b, y, [=](f32 left, f32 right) { return combined(left, right, op); });
}

extern "C" __global__ void __launch_bounds__(256) sum_counts(View x, View y, u32 ranks) {
    const u64 i = thread_number();
    if (i >= y.elements) return;
    u64 sum = 0;
    for (u32 rank = 0; rank < ranks; rank++) sum += x.as<u64>()[rank * y.elements + i];
    y.as<u64>()[i] = sum;
}

extern "C" __global__ void __launch_bounds__(256) count_largest(View code, View largest) {
    const u64 i = thread_number() * GROUP;
    const u8 top = code.dtype == E4M3 ? E4M3_LARGEST : E5M2_LARGEST;
    u32 own = 0;
    for (u32 k = 0; k < GROUP && i + k < code.elements; k++) own += (code.as<u8>()[i + k] & 0x7F) == top;
    const u32 all = block_tally({0, own, 0}).over;
    if (threadIdx.x == 0) count(largest.as<u64>(), all);
}
