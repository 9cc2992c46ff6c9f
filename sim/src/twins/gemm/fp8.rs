//! Hopper's tensor core for FP8 operands, on tiles of 4 by 64 outputs: the bits of
//! [`Mma`](crate::mma::Mma), found without aligning a product on its own.
//!
//! Let E be the largest exponent of a step's 33 terms and u = 2^(E - 13) the unit to which they are
//! truncated. All terms together are below 32 * 3.6 * 2^E + 2^(E + 1) < 2^(E + 7) in magnitude. So
//! an f32 that starts at M = 1.5 * 2^(E + 10) stays in the binade of M while they are added, and its
//! last bit is u there: an fma rounded towards zero, which is downwards for a positive sum, adds the
//! largest multiple of u that is not above the product. That is the truncated product, but for
//! negative ones that are no multiple: they come out one unit too low each.
//!
//! These are counted in bytes. With l the exponent of an operand's last set bit, a product's last
//! set bit is at l(a) + l(b), as odd times odd is odd; it is lost if that is below E - 13. One sum
//! of bytes holds l(a) + l(b) in seven bits and the sign in the eighth, and one comparison finds
//! those to be counted. E comes from sums of exponents in bytes likewise. In the end the count is
//! added to the accumulator's bits, M is subtracted, which is exact, and the ten bits below a
//! result's fraction are cleared; what is below 2^-139 goes with them.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use fp8lm_formats::Isa;

#[cfg(target_arch = "x86_64")]
use self::avx512::Avx512;
use self::{
    codes::Codes,
    pack::{Block, pack},
};
use super::{
    chain::{Chain, Place},
    operand::Operand,
};

#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
mod pack;
mod portable;
#[cfg(test)]
mod tests;

/// The chain of a tensor core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fp8 {
    #[cfg(target_arch = "x86_64")]
    avx512: Option<Avx512>,
}

/// Rows of a tile.
const ROWS: usize = 4;
/// Columns of a tile: a vector of bytes.
const COLS: usize = 64;
/// Products of one step of the machine.
const STEPS: usize = 32;

/// The rows of a tile in one step.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Rows {
    values: [[f32; ROWS]; STEPS],
    /// These and the last bits as [`Codes`] has them.
    exponents: [[u8; ROWS]; STEPS],
    last_bits: [[u8; ROWS]; STEPS],
    /// Not 0 if some are infinite or NaN.
    specials: [u32; 16],
}

/// The columns of a tile in one step. The bytes of column j are at [`place`]`(j)`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Cols {
    values: [[f32; COLS]; STEPS],
    exponents: [[u8; COLS]; STEPS],
    last_bits: [[u8; COLS]; STEPS],
    specials: [u32; 16],
}

/// The accumulators of a tile.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Tile([[f32; COLS]; ROWS]);

impl Fp8 {
    pub(super) fn new(isa: Isa) -> Self {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = isa;
        Self {
            #[cfg(target_arch = "x86_64")]
            avx512: Avx512::new(isa),
        }
    }

    #[inline(always)]
    fn rows(&self, block: &Block<ROWS>, codes: &Codes, panel: &mut Rows) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx512) = self.avx512 {
            return avx512.rows(block, codes, panel);
        }
        portable::rows(block, codes, panel);
    }

    #[inline(always)]
    fn cols(&self, block: &Block<COLS>, codes: &Codes, panel: &mut Cols) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx512) = self.avx512 {
            return avx512.cols(block, codes, panel);
        }
        portable::cols(block, codes, panel);
    }

    #[inline(always)]
    fn step(&self, a: &Rows, b: &Cols, tile: &mut Tile) {
        #[cfg(target_arch = "x86_64")]
        if self.avx512.is_some_and(|avx512| avx512.step(a, b, tile)) {
            return;
        }
        portable::step(a, b, tile);
    }
}

impl Chain for Fp8 {
    type A = Rows;
    type B = Cols;
    type Tile = Tile;

    const ROWS: usize = ROWS;
    const COLS: usize = COLS;
    const STEPS: usize = STEPS;
    /// One step of b takes 12 KiB of the first-level cache.
    const PART: usize = STEPS;
    /// Tiles go to memory and back at every step: a block of them takes half of the second-level
    /// cache.
    const ROW_BLOCK: usize = 256;
    const COL_BLOCK: usize = 512;

    #[inline(always)]
    fn pack_a(&self, a: &Operand<'_>, vectors: Range<usize>, k: Range<usize>, panels: &mut [Rows]) {
        let codes = Codes::of_a(a);
        pack(
            a,
            vectors,
            k,
            panels,
            #[inline(always)]
            |block, panel| self.rows(block, codes, panel),
        );
    }

    #[inline(always)]
    fn pack_b(&self, b: &Operand<'_>, vectors: Range<usize>, k: Range<usize>, panels: &mut [Cols]) {
        let codes = Codes::of_b(b);
        pack(
            b,
            vectors,
            k,
            panels,
            #[inline(always)]
            |block, panel| self.cols(block, codes, panel),
        );
    }

    #[inline(always)]
    fn add(&self, _: Place, a: &[Rows], b: &[Cols], tile: &mut Tile) {
        for (a, b) in a.iter().zip(b) {
            self.step(a, b, tile);
        }
    }
}

/// The byte of column j, among bytes that each eight outputs of two neighbouring columns in the four
/// vectors of a row share: so their f32 are made of them, and they of f32, without leaving eight
/// bytes.
const fn place(j: usize) -> usize {
    let (vector, lane) = (j / 16, j % 16);
    lane / 2 * 8 + vector * 2 + lane % 2
}
