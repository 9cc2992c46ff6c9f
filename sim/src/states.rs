//! Slices of any format that a parameter or an optimizer state is kept in, read and written as
//! f32.
//!
//! Reading widens exactly. Writing rounds to nearest-even once; FP8 saturates, the other formats
//! overflow to infinity. Every NaN that is written is canonical.

use std::ops::Range;

use fp8lm_formats::{E4M3, E5M2, Fp8, layout::Layout};
use half::{bf16, f16};

use crate::floats::{canonical, round_bf16, widen};

/// Elements that pass through f32 at a time: several arrays of them fit the first-level cache.
pub(crate) const BLOCK: usize = 512;
/// Elements that one thread takes at a time, a whole number of blocks.
pub(crate) const GRAIN: usize = 16 * BLOCK;

/// `range` in blocks of at most [`BLOCK`].
#[inline(always)]
pub(crate) fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BLOCK).map(move |first| first..end.min(first + BLOCK))
}

/// A slice that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum States<'a> {
    F32(&'a [f32]),
    BF16(&'a [bf16]),
    F16(&'a [f16]),
    E4M3(&'a [E4M3]),
    E5M2(&'a [E5M2]),
}

/// A slice that is read and written.
#[derive(Debug)]
pub(crate) enum StatesMut<'a> {
    F32(&'a mut [f32]),
    BF16(&'a mut [bf16]),
    F16(&'a mut [f16]),
    E4M3(&'a mut [E4M3]),
    E5M2(&'a mut [E5M2]),
}

impl States<'_> {
    /// Reads the `out.len()` elements from `first` on.
    #[inline(always)]
    pub(crate) fn load(self, first: usize, out: &mut [f32]) {
        match self {
            States::F32(values) => load(&values[first..], out),
            States::BF16(values) => load(&values[first..], out),
            States::F16(values) => load(&values[first..], out),
            States::E4M3(values) => load(&values[first..], out),
            States::E5M2(values) => load(&values[first..], out),
        }
    }
}

impl<'a> StatesMut<'a> {
    /// Writes `values` from `first` on.
    #[inline(always)]
    pub(crate) fn store(&mut self, first: usize, values: &[f32]) {
        match self {
            StatesMut::F32(out) => store(&mut out[first..], values),
            StatesMut::BF16(out) => store(&mut out[first..], values),
            StatesMut::F16(out) => store(&mut out[first..], values),
            StatesMut::E4M3(out) => store(&mut out[first..], values),
            StatesMut::E5M2(out) => store(&mut out[first..], values),
        }
    }

    /// The same slice, to be read.
    #[inline(always)]
    pub(crate) fn as_states(&self) -> States<'_> {
        match self {
            StatesMut::F32(values) => States::F32(values),
            StatesMut::BF16(values) => States::BF16(values),
            StatesMut::F16(values) => States::F16(values),
            StatesMut::E4M3(values) => States::E4M3(values),
            StatesMut::E5M2(values) => States::E5M2(values),
        }
    }

    /// The first `middle` elements, and the rest.
    pub(crate) fn split_at(self, middle: usize) -> (StatesMut<'a>, StatesMut<'a>) {
        macro_rules! split {
            ($values:ident, $format:ident) => {{
                let (left, right) = $values.split_at_mut(middle);
                (StatesMut::$format(left), StatesMut::$format(right))
            }};
        }
        match self {
            StatesMut::F32(values) => split!(values, F32),
            StatesMut::BF16(values) => split!(values, BF16),
            StatesMut::F16(values) => split!(values, F16),
            StatesMut::E4M3(values) => split!(values, E4M3),
            StatesMut::E5M2(values) => split!(values, E5M2),
        }
    }
}

/// A format that f32 is rounded to.
pub(crate) trait Format: Copy {
    /// The value in f32, exactly.
    fn widen(self) -> f32;

    /// The nearest value, ties to even.
    fn narrow(value: f32) -> Self;
}

impl Format for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        canonical(value)
    }
}

impl Format for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        widen(self)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        round_bf16(value)
    }
}

/// By integers and the floating-point adder, so that loops become SIMD code everywhere and every
/// NaN comes out the same.
impl Format for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        let magnitude = u32::from(self.to_bits() & 0x7FFF);
        // 2^-24 is the smallest subnormal; the bias of the exponent grows by 112.
        let subnormal = (magnitude as f32 * f32::from_bits(103 << 23)).to_bits();
        let normal = (magnitude << 13).wrapping_add(112 << 23);
        let special = (magnitude << 13) | 0x7F80_0000;
        let abs = if magnitude < 0x0400 { subnormal } else { normal };
        let abs = if magnitude < 0x7C00 { abs } else { special };
        f32::from_bits(abs | (u32::from(self.to_bits() & 0x8000) << 16))
    }

    /// In the binade of `magic` one unit in the last place is one step of f16 at `abs`, so the
    /// adder rounds, and the low bits of the sum count steps above `origin`.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        const SMALLEST_NORMAL: u32 = 113 << 23;
        const ORIGIN: u32 = (SMALLEST_NORMAL >> 13).wrapping_neg() & 0xFFFF;
        // The step after the largest value is the code of infinity.
        let abs = if value.abs() < 65_536.0 { value.abs() } else { 65_536.0 };
        let exponent = (abs.to_bits() & 0x7F80_0000).max(SMALLEST_NORMAL);
        let magic = exponent.wrapping_add(13 << 23).wrapping_add(ORIGIN);
        let sum = (abs + f32::from_bits(magic)).to_bits();
        let magnitude = sum.wrapping_add(exponent >> 13) as u16;
        let sign = (value.to_bits() >> 16) as u16 & 0x8000;
        f16::from_bits(if value.is_nan() { 0x7FFF } else { magnitude | sign })
    }
}

impl<L: Layout> Format for Fp8<L> {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_f32_saturating(value)
    }
}

#[inline(always)]
fn load<T: Format>(values: &[T], out: &mut [f32]) {
    let values = &values[..out.len()];
    for (out, value) in out.iter_mut().zip(values) {
        *out = value.widen();
    }
}

#[inline(always)]
fn store<T: Format>(out: &mut [T], values: &[f32]) {
    for (out, value) in out[..values.len()].iter_mut().zip(values) {
        *out = T::narrow(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_f16_is_that_of_half() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            let (got, expected) = (value.widen(), value.to_f32());
            let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
            assert!(same, "{bits:#06x}: {got:e}, {expected:e}");
        }
    }

    #[test]
    fn rounding_to_f16_is_that_of_half_but_for_nan() {
        for high in 0..=u16::MAX {
            // Around the tie of a normal result, with the last kept bit clear and set.
            for low in [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0xFFFF] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                let expected =
                    if value.is_nan() { 0x7FFF } else { f16::from_f32_const(value).to_bits() };
                assert_eq!(f16::narrow(value).to_bits(), expected, "{:#010x}", value.to_bits());
            }
        }
    }
}
