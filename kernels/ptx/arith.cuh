// Single IEEE roundings that no compiler flag changes: nothing is fused, nothing flushed to zero.
#pragma once

#include "cuda.cuh"

#ifdef __CUDACC__
DEVICE f32 add_rn(f32 a, f32 b) { return __fadd_rn(a, b); }
DEVICE f32 sub_rn(f32 a, f32 b) { return __fadd_rn(a, -b); }
DEVICE f32 mul_rn(f32 a, f32 b) { return __fmul_rn(a, b); }
DEVICE f32 div_rn(f32 a, f32 b) { return __fdiv_rn(a, b); }
DEVICE f32 sqrt_rn(f32 x) { return __fsqrt_rn(x); }
DEVICE f32 fma_rn(f32 a, f32 b, f32 c) { return __fmaf_rn(a, b, c); }
DEVICE f64 mul_rn(f64 a, f64 b) { return __dmul_rn(a, b); }
DEVICE f64 sub_rn(f64 a, f64 b) { return __dadd_rn(a, -b); }
DEVICE f32 narrow_rn(f64 x) { return __double2float_rn(x); }
DEVICE f32 to_f32(u32 x) { return __uint2float_rn(x); }
DEVICE f32 to_f32(i32 x) { return __int2float_rn(x); }
#else
// Compiled with -ffp-contract=off.
DEVICE f32 add_rn(f32 a, f32 b) { return a + b; }
DEVICE f32 sub_rn(f32 a, f32 b) { return a - b; }
DEVICE f32 mul_rn(f32 a, f32 b) { return a * b; }
DEVICE f32 div_rn(f32 a, f32 b) { return a / b; }
DEVICE f32 sqrt_rn(f32 x) { return __builtin_sqrtf(x); }
DEVICE f32 fma_rn(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
DEVICE f64 mul_rn(f64 a, f64 b) { return a * b; }
DEVICE f64 sub_rn(f64 a, f64 b) { return a - b; }
DEVICE f32 narrow_rn(f64 x) { return f32(x); }
DEVICE f32 to_f32(u32 x) { return f32(x); }
DEVICE f32 to_f32(i32 x) { return f32(x); }
#endif
