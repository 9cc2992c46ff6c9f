//! Hopper's tensor core, for a tile of outputs: the bits of [`Mma`](crate::mma::Mma), in floating
//! point.
//!
//! With E the largest exponent of a step, every term times 2^(F - E), for F fraction bits, has its
//! last bit at 1: it is truncated as a number, and the few terms, each below 2^(F + 2), are summed
//! exactly. E is found beforehand, from sums of exponents in 16 bits. Infinities and NaN go through
//! as they would through any sum.

use std::{
    marker::PhantomData,
    ops::{Add, Mul, Range, RangeInclusive},
};

use bytemuck::{Pod, Zeroable};

use super::{
    chain::{Chain, Place},
    operand::{Operand, Step},
};

/// The chain of a tensor core whose terms are held in `T`: those of f16 and BF16 in f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct TensorCore<T>(PhantomData<T>);

impl<T> TensorCore<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Term> Chain for TensorCore<T> {
    type A = Rows;
    type B = Cols;
    type Tile = Tile;

    const ROWS: usize = ROWS;
    const COLS: usize = COLS;

    #[inline(always)]
    fn pack_a(&self, a: &Operand<'_>, vectors: Range<usize>, k: Range<usize>, panels: &mut [Rows]) {
        a.pack(vectors, k, panels);
    }

    #[inline(always)]
    fn pack_b(&self, b: &Operand<'_>, vectors: Range<usize>, k: Range<usize>, panels: &mut [Cols]) {
        b.pack(vectors, k, panels);
    }

    #[inline(always)]
    fn add(&self, _: Place, a: &[Rows], b: &[Cols], tile: &mut Tile) {
        for (a, b) in a.chunks(T::PRODUCTS).zip(b.chunks(T::PRODUCTS)) {
            let largest = largest_exponents(a, b);
            for first in (0..ROWS).step_by(GROUP) {
                for half in 0..COLS / 8 {
                    let mut group = Group::<T>::new(first, half, tile, &largest);
                    group.add(a, b);
                    group.write(tile);
                }
            }
        }
    }
}

const ROWS: usize = 6;
const COLS: usize = 16;

/// The accumulators of a tile, in vectors of eight columns.
type Tile = [[[f32; 8]; COLS / 8]; ROWS];

/// One step of k of the rows of a tile.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Rows {
    values: [f32; ROWS],
    exponents: [u16; ROWS],
}

/// One step of k of the columns of a tile.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Cols {
    values: [f32; COLS],
    exponents: [u16; COLS],
}

impl Step<ROWS> for Rows {
    #[inline(always)]
    fn pack(values: [f32; ROWS], min_exponent: i32) -> Self {
        Self { values, exponents: exponents(values, min_exponent) }
    }
}

impl Step<COLS> for Cols {
    #[inline(always)]
    fn pack(values: [f32; COLS], min_exponent: i32) -> Self {
        Self { values, exponents: exponents(values, min_exponent) }
    }
}

/// That of the leading bit, or the smallest one if that is larger, and [`EXPONENT_BIAS`]; 0 for
/// zeros.
#[inline(always)]
fn exponents<const W: usize>(values: [f32; W], min_exponent: i32) -> [u16; W] {
    values.map(
        #[inline(always)]
        |value| {
            let bits = value.to_bits() << 1;
            let leading = (bits >> 24) as i32 - 127;
            let biased = leading.max(min_exponent) + EXPONENT_BIAS;
            if bits == 0 { 0 } else { biased as u16 }
        },
    )
}

/// What keeps exponents, from -126 to 128, clear of the 0 of zeros, also when two are added.
const EXPONENT_BIAS: i32 = 1024;

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
fn largest_exponents(a: &[Rows], b: &[Cols]) -> [[u16; COLS]; ROWS] {
    let mut largest = [[0u16; COLS]; ROWS];
    for (a, b) in a.iter().zip(b) {
        for (largest, a) in largest.iter_mut().zip(&a.exponents) {
            for (largest, b) in largest.iter_mut().zip(&b.exponents) {
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
    fn add(&mut self, a: &[Rows], b: &[Cols]) {
        let (mut sums, scales) = (self.sums, self.scales);
        for (a, b) in a.iter().zip(b) {
            let b = b.values.as_chunks::<8>().0[self.half];
            for i in 0..GROUP {
                let a = T::from(a.values[self.first + i]);
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
