//! Hopper's tensor core, for a tile of outputs: the bits of [`Mma`](crate::mma::Mma), in floating
//! point.
//!
//! With E the largest exponent of a step, every term times 2^(F - E), for F fraction bits, has its
//! last bit at 1: it is truncated as a number, and the few terms, each below 2^(F + 2), are summed
//! exactly. E is found beforehand, from sums of exponents in 16 bits. Infinities and NaN go through
//! as they would through any sum.

use std::{
    marker::PhantomData,
    ops::{Add, Mul, RangeInclusive},
};

use super::chain::{COLS, Chain, Panel, Place, ROWS, Tile};
use super::operand::EXPONENT_BIAS;

/// The chain of a tensor core whose terms are held in `T`: FP8 operands in f32, f16 and BF16 in f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct TensorCore<T>(PhantomData<T>);

impl<T> TensorCore<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Term> Chain for TensorCore<T> {
    const EXPONENTS: bool = true;

    #[inline(always)]
    fn add(&self, _: Place, a: Panel<'_, ROWS>, b: Panel<'_, COLS>, tile: &mut Tile) {
        for (a, b) in a.chunks(T::PRODUCTS).zip(b.chunks(T::PRODUCTS)) {
            let largest = largest_exponents(a.exponents, b.exponents);
            for first in (0..ROWS).step_by(GROUP) {
                for half in 0..COLS / 8 {
                    let mut group = Group::<T>::new(first, half, tile, &largest);
                    group.add(a.values, b.values);
                    group.write(tile);
                }
            }
        }
    }
}

/// A type that holds a step's terms and their sum exactly.
pub(super) trait Term:
    Copy + Default + From<f32> + Add<Output = Self> + Mul<Output = Self> + Send + Sync
{
    /// Products in a step.
    const PRODUCTS: usize;
    /// Fraction bits to which its terms are aligned.
    const ALIGNED: i32;
    /// Where the exponents of finite terms lie. What lies outside is zero, and is held in here only
    /// to keep powers of two finite; or it is infinite or NaN, and swallows every power of two.
    const EXPONENTS: RangeInclusive<i32>;

    fn power_of_two(exponent: i32) -> Self;

    fn truncated(self) -> Self;

    /// Truncated to the fraction bits of a result.
    fn result(self) -> f32;
}

/// FP8: 33 terms below 2^15 each. Products of FP8 values are at least 2^-32, so an accumulator is
/// zero or at least 2^-45.
impl Term for f32 {
    const PRODUCTS: usize = 32;
    const ALIGNED: i32 = 13;
    const EXPONENTS: RangeInclusive<i32> = -64..=128;

    #[inline(always)]
    fn power_of_two(exponent: i32) -> Self {
        f32::from_bits(((exponent + 127) as u32) << 23)
    }

    #[inline(always)]
    fn truncated(self) -> Self {
        self.trunc()
    }

    /// To 13 fraction bits. A NaN of a sum or of a widened operand is quiet, and stays NaN.
    #[inline(always)]
    fn result(self) -> f32 {
        f32::from_bits(self.to_bits() & !0x3FF)
    }
}

/// f16 and BF16: 17 terms below 2^27 each.
impl Term for f64 {
    const PRODUCTS: usize = 16;
    const ALIGNED: i32 = 25;
    const EXPONENTS: RangeInclusive<i32> = -252..=256;

    #[inline(always)]
    fn power_of_two(exponent: i32) -> Self {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    }

    #[inline(always)]
    fn truncated(self) -> Self {
        self.trunc()
    }

    /// To 23 fraction bits, or to a multiple of 2^-149 if that is more. Adding +0 leaves no -0.
    #[inline(always)]
    fn result(self) -> f32 {
        let normal = f64::from_bits(self.to_bits() & !0x1FFF_FFFF);
        let subnormal = (self * Self::power_of_two(149)).trunc() * Self::power_of_two(-149) + 0.0;
        let is_subnormal = self.abs() < f64::from(f32::MIN_POSITIVE);
        (if is_subnormal { subnormal } else { normal }) as f32
    }
}

/// For each output the largest sum of two exponents, each with its bias. One with a zero operand is
/// smaller than any without.
#[inline(always)]
fn largest_exponents(a: &[[u16; ROWS]], b: &[[u16; COLS]]) -> [[u16; COLS]; ROWS] {
    let mut largest = [[0; COLS]; ROWS];
    for (a, b) in a.iter().zip(b) {
        for (largest, a) in largest.iter_mut().zip(a) {
            for (largest, b) in largest.iter_mut().zip(b) {
                *largest = (*largest).max(a.wrapping_add(*b));
            }
        }
    }
    largest
}

/// One step of eight columns of some rows: as many sums at once as hide an addition's latency.
struct Group<T> {
    /// The first row.
    first: usize,
    /// Which eight columns.
    half: usize,
    /// In units of the last bit that terms keep.
    sums: [[T; 8]; GROUP],
    /// 1 over the unit.
    scales: [[T; 8]; GROUP],
    units: [[T; 8]; GROUP],
}

/// Rows of a group.
const GROUP: usize = 3;

impl<T: Term> Group<T> {
    /// The accumulators, truncated.
    #[inline(always)]
    fn new(first: usize, half: usize, tile: &Tile, largest: &[[u16; COLS]; ROWS]) -> Self {
        let nothing = [[T::default(); 8]; GROUP];
        let mut group = Self { first, half, sums: nothing, scales: nothing, units: nothing };
        for i in 0..GROUP {
            let accumulators = tile[first + i][half];
            let largest = largest[first + i].as_chunks::<8>().0[half];
            for j in 0..8 {
                let exponent = exponent::<T>(largest[j], accumulators[j]);
                group.scales[i][j] = T::power_of_two(T::ALIGNED - exponent);
                group.units[i][j] = T::power_of_two(exponent - T::ALIGNED);
                group.sums[i][j] = (T::from(accumulators[j]) * group.scales[i][j]).truncated();
            }
        }
        group
    }

    #[inline(always)]
    fn add(&mut self, a: &[[f32; ROWS]], b: &[[f32; COLS]]) {
        let (mut sums, scales) = (self.sums, self.scales);
        for (a, b) in a.iter().zip(b) {
            let b = b.as_chunks::<8>().0[self.half];
            for i in 0..GROUP {
                let a = T::from(a[self.first + i]);
                for j in 0..8 {
                    sums[i][j] = sums[i][j] + (a * T::from(b[j]) * scales[i][j]).truncated();
                }
            }
        }
        self.sums = sums;
    }

    /// The results, into the accumulators.
    #[inline(always)]
    fn write(&self, tile: &mut Tile) {
        for i in 0..GROUP {
            for (j, result) in tile[self.first + i][self.half].iter_mut().enumerate() {
                *result = (self.sums[i][j] * self.units[i][j]).result();
            }
        }
    }
}

/// E: the largest exponent of a non-zero product or of a non-zero accumulator.
#[inline(always)]
fn exponent<T: Term>(largest: u16, accumulator: f32) -> i32 {
    let none = *T::EXPONENTS.start();
    let bits = accumulator.to_bits();
    let field = (bits >> 23 & 0xFF) as i32;
    let of_accumulator = if bits << 1 == 0 { none } else { field.max(1) - 127 };
    let largest = i32::from(largest) - 2 * EXPONENT_BIAS;
    let of_products = if largest < SOME_ZERO { none } else { largest };
    of_accumulator.max(of_products).clamp(none, *T::EXPONENTS.end())
}

/// Above the sum of exponents of a product with a zero, at most 128 - bias, and below that of any
/// other, at least -252.
const SOME_ZERO: i32 = -512;
