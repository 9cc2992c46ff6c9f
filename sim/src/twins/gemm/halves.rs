//! Hopper's tensor core for operands in f16 and BF16, on tiles of 4 by 32 outputs: the bits of
//! [`Mma`](crate::mma::Mma), in the way of [`Fp8`](super::fp8::Fp8).
//!
//! The unit is u = 2^(E - 25), 17 terms are below 66 * 2^E together, and M = 1.5 * 2^(E + 27) in f64
//! has its last bit at u. Exponents and last bits take 16 bits.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use fp8lm_formats::Isa;

#[cfg(target_arch = "x86_64")]
use self::avx512::Avx512;
use super::{
    chain::{Chain, Place},
    operand::{Operand, Step},
};

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
#[cfg(test)]
mod tests;

/// The chain of a tensor core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    #[cfg(target_arch = "x86_64")]
    avx512: Option<Avx512>,
}

/// Rows of a tile.
const ROWS: usize = 4;
/// Columns of a tile: a vector of 16 bits each.
const COLS: usize = 32;
/// Products of one step of the machine.
const PRODUCTS: usize = 16;

/// One step of k of the rows of a tile.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Rows {
    values: [f64; ROWS],
    /// e + 511, but that of the smallest normal number at least; or [`ZERO`] or [`SPECIAL`].
    exponents: [i16; ROWS],
    /// 1024 - l, with l the exponent of the last bit set, or 0 for a zero; and, as the sign, that of
    /// the value flipped.
    last_bits: [i16; ROWS],
}

/// One step of k of the columns of a tile. What belongs to column j, but for its value, stands at
/// [`place`]`(j)`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Cols {
    values: [f64; COLS],
    /// e + 512, or as for rows: the sum of two is the exponent field of an f64.
    exponents: [i16; COLS],
    /// With the sign of the value, so that the sum of two is positive for a negative product.
    last_bits: [i16; COLS],
}

/// The exponent of a zero: any sum with one is below [`NO_PRODUCT`], and any other above.
const ZERO: i16 = -2048;
const NO_PRODUCT: i16 = 700;
/// That of an infinity or a NaN: any sum with one is above all others.
const SPECIAL: i16 = 12_000;

/// The accumulators of a tile.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Tile([[f32; COLS]; ROWS]);

impl Halves {
    pub(super) fn new(isa: Isa) -> Self {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = isa;
        Self {
            #[cfg(target_arch = "x86_64")]
            avx512: Avx512::new(isa),
        }
    }

    /// All steps that can be done at once.
    #[inline(always)]
    fn steps(&self, a: &[Rows], b: &[Cols], tile: &mut Tile) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx512) = self.avx512 {
            return avx512.steps(a, b, tile);
        }
        let _ = (a, b, tile);
        0
    }
}

impl Chain for Halves {
    type A = Rows;
    type B = Cols;
    type Tile = Tile;

    const ROWS: usize = ROWS;
    const COLS: usize = COLS;
    /// So many steps of b take 24 KiB of the first-level cache.
    const PART: usize = 4 * PRODUCTS;
    /// As for FP8.
    const ROW_BLOCK: usize = 256;
    const COL_BLOCK: usize = 512;

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
        let mut done = 0;
        loop {
            done += self.steps(&a[done..], &b[done..], tile);
            let next = done..a.len().min(done + PRODUCTS);
            if next.is_empty() {
                break;
            }
            portable::step(&a[next.clone()], &b[next.clone()], tile);
            done = next.end;
        }
    }
}

impl Step<ROWS> for Rows {
    #[inline(always)]
    fn pack(values: [f32; ROWS], min_exponent: i32) -> Self {
        let mut step = Self::zeroed();
        for (i, value) in values.iter().enumerate() {
            step.values[i] = f64::from(*value);
            step.exponents[i] = exponent(*value, min_exponent, 511);
            step.last_bits[i] = last_bit(*value) ^ i16::MIN;
        }
        step
    }
}

impl Step<COLS> for Cols {
    #[inline(always)]
    fn pack(values: [f32; COLS], min_exponent: i32) -> Self {
        let mut step = Self::zeroed();
        for (j, value) in values.iter().enumerate() {
            step.values[j] = f64::from(*value);
        }
        for place in 0..COLS {
            let value = values[col(place)];
            step.exponents[place] = exponent(value, min_exponent, 512);
            step.last_bits[place] = last_bit(value);
        }
        step
    }
}

#[inline(always)]
fn exponent(value: f32, min_exponent: i32, bias: i32) -> i16 {
    let bits = value.to_bits() << 1;
    let field = (bits >> 24) as i32;
    let biased = (field - 127).max(min_exponent) + bias;
    let finite = if bits == 0 { ZERO } else { biased as i16 };
    if field == 255 { SPECIAL } else { finite }
}

#[inline(always)]
fn last_bit(value: f32) -> i16 {
    let field = value.to_bits() >> 23 & 0xFF;
    let hidden = u32::from(field > 0) << 23;
    let significand = value.to_bits() & 0x7F_FFFF | hidden;
    // A power of two, as a number, shows its exponent.
    let last = (significand & significand.wrapping_neg()) as i32 as f32;
    let exponent = field.max(1) as i32 - 150 + (last.to_bits() >> 23) as i32 - 127;
    let magnitude = if significand == 0 { 0 } else { 1024 - exponent };
    let sign = (value.to_bits() >> 16) as i16 & i16::MIN;
    magnitude as i16 | sign
}

/// Where column j stands among others whose f64 are the same eight bytes of a vector.
const fn place(j: usize) -> usize {
    j % 8 * 4 + j / 8
}

/// The column at a place.
const fn col(place: usize) -> usize {
    place % 4 * 8 + place / 4
}
