//! exp, log and tanh of f32, the same bits on every machine.
//!
//! Each is a fixed sequence of IEEE additions, multiplications, fused multiply-adds and at most
//! one division, with neither branch nor table, so that the compiler vectorises a loop over it
//! and a GPU repeats it. `docs/numerics.md` holds the sequence and the largest error over all
//! inputs, which `cargo run --release -p fp8lm-sim --example elementary_ulp` measures.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod ulp;

/// e^x. Underflow is gradual; +0 below ln(2^-150), without the cost of a subnormal.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let vanishes = x < EXP_VANISHES;
    let x = if vanishes { 0.0 } else { x };
    let x = if x > EXP_OVERFLOWS { EXP_OVERFLOWS } else { x };
    let (n, r) = reduce(x);
    let y = exp_tail(r).mul_add(r, 1.0).mul_add(r, 1.0);
    // In two steps, as 2^n alone may lie outside f32. Only the second can round.
    let half = n >> 1;
    let y = y * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    if vanishes { 0.0 } else { y }
}

/// The natural logarithm. -Inf at either zero, NaN below.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * TWO_POW_23 } else { x };
    // scaled = 2^e * (1 + f) with 1 + f in [2/3, 4/3).
    let offset = (scaled.to_bits() as i32).wrapping_sub(TWO_THIRDS);
    let e = (offset >> 23) as f32 - if subnormal { 23.0 } else { 0.0 };
    let f = f32::from_bits(((offset & 0x007F_FFFF) + TWO_THIRDS) as u32) - 1.0;
    let q = horner(f, LOG_TAIL);
    let y = e.mul_add(LN_2_HIGH, f + (f * f).mul_add(q, e * LN_2_LOW));
    let edge = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    let y = if x > 0.0 { y } else { edge };
    if x == f32::INFINITY { x } else { y }
}

/// The hyperbolic tangent: odd, and +-1 from where that is the nearest f32.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let a = if a > TANH_SATURATES { TANH_SATURATES } else { a };
    // expm1(2a) = 2^n * expm1(r) + (2^n - 1).
    let (n, r) = reduce(a + a);
    let small = (r * r).mul_add(exp_tail(r), r);
    let power = power_of_two(n);
    let expm1 = power.mul_add(small, power - 1.0);
    (expm1 / (expm1 + 2.0)).copysign(x)
}

/// n and r with x = n * ln 2 + r, n the nearest integer to x / ln 2.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the significand.
    let shifted = x.mul_add(LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    // The first product is exact, and so is the difference.
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    ((shifted.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32), r)
}

/// (e^r - 1 - r) / r^2 for abs(r) <= ln(2) / 2.
#[inline(always)]
fn exp_tail(r: f32) -> f32 {
    horner(r, EXP_TAIL)
}

/// The polynomial with these coefficients, highest power first, one fma a step.
#[inline(always)]
fn horner<const N: usize>(x: f32, coefficients: [u32; N]) -> f32 {
    let mut sum = f32::from_bits(coefficients[0]);
    for &c in &coefficients[1..] {
        sum = sum.mul_add(x, f32::from_bits(c));
    }
    sum
}

/// 2^n for n in [-126, 127].
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// ln(2^-150), rounded up: e^x rounds to +0 below.
const EXP_VANISHES: f32 = f32::from_bits(0xC2CF_F1B4);
/// e^x is Inf from ln(2^128) = 88.72 on.
const EXP_OVERFLOWS: f32 = 89.0;
/// tanh x rounds to 1 from 9.02 on.
const TANH_SATURATES: f32 = 10.0;
const ROUNDER: f32 = 12_582_912.0;
const LOG2_E: f32 = f32::from_bits(0x3FB8_AA3B);
/// ln 2 to 16 bits, so that its products with exponents are exact; the rest is the low part.
const LN_2_HIGH: f32 = f32::from_bits(0x3F31_7200);
const LN_2_LOW: f32 = f32::from_bits(0x35BF_BE8E);
const TWO_POW_23: f32 = 8_388_608.0;
/// The bits of f32(2/3).
const TWO_THIRDS: i32 = 0x3F2A_AAAB;

/// Weighted least squares on (expm1(r) - r) / r^2, each coefficient rounded before the next was
/// fitted; relative error in expm1(r): 2^-31.
const EXP_TAIL: [u32; 6] =
    [0x394F_03D6, 0x3AB6_A1BB, 0x3C08_8984, 0x3D2A_AA78, 0x3E2A_AAAA, 0x3F00_0000];

/// The same for (log(1 + f) - f) / f^2 on [-1/3, 1/3]; relative error in log(1 + f): 2^-27.5.
const LOG_TAIL: [u32; 9] = [
    0xBE01_81C7,
    0x3E0F_734F,
    0xBDFA_B140,
    0x3E0F_5C6E,
    0xBE2A_C427,
    0x3E4C_E934,
    0xBE7F_FFB5,
    0x3EAA_AA80,
    0xBF00_0000,
];
