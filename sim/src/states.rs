//! Slices of any format that a parameter or an optimizer state is kept in, read and written as
//! f32.
//!
//! Reading widens exactly. Writing rounds to nearest-even once; FP8 saturates, the other formats
//! overflow to infinity. Every NaN that is written is canonical.

use std::ops::Range;

use fp8lm_formats::{E4M3, E5M2, Fp8, Isa, Overflow, layout::Layout};
use half::{bf16, f16};

use crate::floats::{canonical, round_bf16, widen};

mod binary16;

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

/// Numbers on the stack that begin a cache line, so that no SIMD register straddles two.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Aligned<const N: usize>(pub(crate) [f32; N]);

impl<const N: usize> Default for Aligned<N> {
    #[inline(always)]
    fn default() -> Self {
        Self([0.0; N])
    }
}

/// A slice that is read, with the instructions of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct States<'a> {
    pub(crate) isa: Isa,
    pub(crate) slice: Slice<'a>,
}

/// A slice that is read and written, with the instructions of an instruction set.
#[derive(Debug)]
pub(crate) struct StatesMut<'a> {
    pub(crate) isa: Isa,
    pub(crate) slice: SliceMut<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Slice<'a> {
    F32(&'a [f32]),
    BF16(&'a [bf16]),
    F16(&'a [f16]),
    E4M3(&'a [E4M3]),
    E5M2(&'a [E5M2]),
}

#[derive(Debug)]
pub(crate) enum SliceMut<'a> {
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
        let places = first..first + out.len();
        match self.slice {
            Slice::F32(values) => Format::load(self.isa, &values[places], out),
            Slice::BF16(values) => Format::load(self.isa, &values[places], out),
            Slice::F16(values) => Format::load(self.isa, &values[places], out),
            Slice::E4M3(values) => Format::load(self.isa, &values[places], out),
            Slice::E5M2(values) => Format::load(self.isa, &values[places], out),
        }
    }
}

impl<'a> StatesMut<'a> {
    /// Writes `values` from `first` on.
    #[inline(always)]
    pub(crate) fn store(&mut self, first: usize, values: &[f32]) {
        let places = first..first + values.len();
        match &mut self.slice {
            SliceMut::F32(out) => Format::store(self.isa, values, &mut out[places]),
            SliceMut::BF16(out) => Format::store(self.isa, values, &mut out[places]),
            SliceMut::F16(out) => Format::store(self.isa, values, &mut out[places]),
            SliceMut::E4M3(out) => Format::store(self.isa, values, &mut out[places]),
            SliceMut::E5M2(out) => Format::store(self.isa, values, &mut out[places]),
        }
    }

    /// Writes `values` from `first` on, each rounded up or down by a random word.
    #[inline(always)]
    pub(crate) fn store_stochastic(&mut self, first: usize, values: &[f32], words: &[u32]) {
        let places = first..first + values.len();
        match &mut self.slice {
            SliceMut::F32(out) => store_stochastic(&mut out[places], values, words),
            SliceMut::BF16(out) => store_stochastic(&mut out[places], values, words),
            SliceMut::F16(out) => store_stochastic(&mut out[places], values, words),
            SliceMut::E4M3(out) => store_stochastic(&mut out[places], values, words),
            SliceMut::E5M2(out) => store_stochastic(&mut out[places], values, words),
        }
    }

    /// The same slice, to be read.
    #[inline(always)]
    pub(crate) fn as_states(&self) -> States<'_> {
        let slice = match &self.slice {
            SliceMut::F32(values) => Slice::F32(values),
            SliceMut::BF16(values) => Slice::BF16(values),
            SliceMut::F16(values) => Slice::F16(values),
            SliceMut::E4M3(values) => Slice::E4M3(values),
            SliceMut::E5M2(values) => Slice::E5M2(values),
        };
        States { isa: self.isa, slice }
    }

    /// The first `middle` elements, and the rest.
    pub(crate) fn split_at(self, middle: usize) -> (StatesMut<'a>, StatesMut<'a>) {
        macro_rules! split {
            ($values:ident, $format:ident) => {{
                let (left, right) = $values.split_at_mut(middle);
                (SliceMut::$format(left), SliceMut::$format(right))
            }};
        }
        let (left, right) = match self.slice {
            SliceMut::F32(values) => split!(values, F32),
            SliceMut::BF16(values) => split!(values, BF16),
            SliceMut::F16(values) => split!(values, F16),
            SliceMut::E4M3(values) => split!(values, E4M3),
            SliceMut::E5M2(values) => split!(values, E5M2),
        };
        (StatesMut { isa: self.isa, slice: left }, StatesMut { isa: self.isa, slice: right })
    }
}

/// A format that f32 is rounded to.
pub(crate) trait Format: Copy {
    /// The value in f32, exactly.
    fn widen(self) -> f32;

    /// The nearest value, ties to even.
    fn narrow(value: f32) -> Self;

    /// One of the two neighbouring values, the nearer the likelier for a uniform `random`.
    fn narrow_stochastic(value: f32, random: u32) -> Self;

    /// Widens each of the values; `out` has as many.
    #[inline(always)]
    fn load(_: Isa, values: &[Self], out: &mut [f32]) {
        load(values, out);
    }

    /// Rounds each of the values; `out` has as many.
    #[inline(always)]
    fn store(_: Isa, values: &[f32], out: &mut [Self]) {
        store(out, values);
    }
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

    /// Nothing is rounded.
    #[inline(always)]
    fn narrow_stochastic(value: f32, _: u32) -> Self {
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

    #[inline(always)]
    fn narrow_stochastic(value: f32, random: u32) -> Self {
        let rounded = (value.to_bits().wrapping_add(random >> 16) >> 16) as u16;
        bf16::from_bits(if value.is_nan() { 0x7FFF } else { rounded })
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

    #[inline(always)]
    fn narrow_stochastic(value: f32, random: u32) -> Self {
        Self::from_f32_stochastic(value, random, Overflow::Saturate)
    }
}

#[inline(always)]
fn load<T: Format>(values: &[T], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = value.widen();
    }
}

#[inline(always)]
fn store<T: Format>(out: &mut [T], values: &[f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = T::narrow(*value);
    }
}

#[inline(always)]
fn store_stochastic<T: Format>(out: &mut [T], values: &[f32], words: &[u32]) {
    for (out, (value, word)) in out.iter_mut().zip(values.iter().zip(words)) {
        *out = T::narrow_stochastic(*value, *word);
    }
}
