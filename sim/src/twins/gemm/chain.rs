//! Accumulation models: how the products of one output are summed.
//!
//! A model works on a tile of outputs at a time, over panels of operands that it packed as it likes
//! them. Most are plain Rust over arrays as long as a vector.

use std::ops::Range;

use bytemuck::Pod;

use super::operand::Operand;

/// An accumulation model. Its functions should be `#[inline(always)]`.
pub(super) trait Chain: Copy + Sync {
    /// [`STEPS`](Self::STEPS) steps of k of [`ROWS`](Self::ROWS) vectors of a, packed.
    type A: Pod + Send + Sync;
    /// The same steps of [`COLS`](Self::COLS) vectors of b.
    type B: Pod + Send + Sync;
    /// The accumulators of a tile: `ROWS` by `COLS` numbers in f32, row by row.
    type Tile: Pod;

    /// Rows of a tile.
    const ROWS: usize;
    /// Columns of a tile, at most [`MAX_COLS`].
    const COLS: usize;
    /// Steps of k that are packed together. The last ones of all are filled up with such as change
    /// no accumulator.
    const STEPS: usize = 1;
    /// Steps of k after which a tile goes back to memory, a multiple of `STEPS`: with fewer, a
    /// panel of b stays in the first-level cache.
    const PART: usize = 256;

    /// Rows of a block, about: so many times `PART` fit the second-level cache.
    const ROW_BLOCK: usize = 96;
    /// Columns whose panels are packed at once, at most.
    const COL_BLOCK: usize = 2048;

    /// Packs steps `k` of `vectors` of a, panel by panel of `ROWS` vectors, the last filled up with
    /// any. `k` starts at a multiple of `PART`, and ends at one or at the end of all.
    fn pack_a(
        &self,
        a: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::A],
    );

    /// Packs steps `k` of `vectors` of b, panel by panel of `COLS` vectors.
    fn pack_b(
        &self,
        b: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::B],
    );

    /// Adds the products of some steps of k, ascending, to a tile that holds those of all steps
    /// before, or what the sums start from.
    fn add(&self, at: Place, a: &[Self::A], b: &[Self::B], tile: &mut Self::Tile);
}

/// Columns of a tile at most.
pub(super) const MAX_COLS: usize = 64;

/// The first row, column and step of k that a tile is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) col: usize,
    /// A multiple of the steps after which any model starts anew.
    pub(super) k: usize,
}

/// The model of a CPU: acc = fma(a, b, acc).
#[derive(Clone, Copy, Debug)]
pub(super) struct Fma;

/// Compiled for AVX2, a tile of six rows by two vectors of eight stays in registers, and leaves
/// four of the sixteen for the operands.
impl Chain for Fma {
    type A = [f32; 6];
    type B = [f32; 16];
    type Tile = [[[f32; 8]; 2]; 6];

    const ROWS: usize = 6;
    const COLS: usize = 16;

    #[inline(always)]
    fn pack_a(
        &self,
        a: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::A],
    ) {
        a.pack(vectors, k, panels);
    }

    #[inline(always)]
    fn pack_b(
        &self,
        b: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::B],
    ) {
        b.pack(vectors, k, panels);
    }

    #[inline(always)]
    fn add(&self, _: Place, a: &[Self::A], b: &[Self::B], tile: &mut Self::Tile) {
        let mut sums = *tile;
        for (a, b) in a.iter().zip(b) {
            let (b, _) = b.as_chunks::<8>();
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sums, b) in sums.iter_mut().zip(b) {
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = a.mul_add(*b, *sum);
                    }
                }
            }
        }
        *tile = sums;
    }
}
