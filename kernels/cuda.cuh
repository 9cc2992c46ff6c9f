// What every kernel includes first: CUDA, or the shim that runs it on the CPU, and names for numbers.
#pragma once

#ifndef __CUDACC__
#include "shim/cuda.hpp"
#endif

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;
using i64 = long long;
using f32 = float;
using f64 = double;

#define DEVICE __device__ __forceinline__

constexpr u32 WARP = 32;

DEVICE u32 bits(f32 x) {
    u32 y;
    memcpy(&y, &x, sizeof y);
    return y;
}

DEVICE u64 bits(f64 x) {
    u64 y;
    memcpy(&y, &x, sizeof y);
    return y;
}

DEVICE f32 from_bits(u32 x) {
    f32 y;
    memcpy(&y, &x, sizeof y);
    return y;
}

constexpr u32 SIGN_BIT = 0x80000000;
constexpr u32 INFINITY_BITS = 0x7F800000;
constexpr u32 NAN_BITS = 0x7FFFFFFF;

DEVICE bool is_nan(f32 x) { return (bits(x) & ~SIGN_BIT) > INFINITY_BITS; }
DEVICE bool is_finite(f32 x) { return (bits(x) & ~SIGN_BIT) < INFINITY_BITS; }
DEVICE f32 absolute(f32 x) { return from_bits(bits(x) & ~SIGN_BIT); }
DEVICE f32 with_sign_of(f32 magnitude, f32 x) { return from_bits((bits(magnitude) & ~SIGN_BIT) | (bits(x) & SIGN_BIT)); }
DEVICE f32 nan_value() { return from_bits(NAN_BITS); }
DEVICE f32 infinity() { return from_bits(INFINITY_BITS); }

// The same number, every NaN the one that kernels write.
DEVICE f32 canonical(f32 x) { return is_nan(x) ? nan_value() : x; }

DEVICE u64 smaller(u64 a, u64 b) { return a < b ? a : b; }
DEVICE u64 ceil_div(u64 a, u64 b) { return (a + b - 1) / b; }

// This thread's number in a grid where its block has number `block`.
DEVICE u64 thread_number(u32 block) { return u64(block) * blockDim.x + threadIdx.x; }
DEVICE u64 thread_number() { return thread_number(blockIdx.x); }
