//! Chains that start anew every 128 steps of k and are summed in f32.

use std::ops::Range;

use bytemuck::Zeroable;

use super::{
    chain::{Chain, MAX_COLS, Place},
    operand::Operand,
};
use crate::mma::PROMOTION;

/// acc = fma(scale, partial, acc), with `partial` a chain over 128 steps from +0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promoted<'a, C> {
    pub(super) chain: C,
    /// Without them every scale is 1, and the sum a plain one.
    pub(super) scales: Option<Scales<'a>>,
}

/// Scaling factors of blocks: [rows / rows of a block, ceil(k / 128)] for both operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales<'a> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    /// Vectors of b that share a factor, a power of two.
    pub(super) b_vectors: usize,
    /// Blocks along k.
    pub(super) blocks: usize,
}

impl<C: Chain> Chain for Promoted<'_, C> {
    type A = C::A;
    type B = C::B;
    type Tile = C::Tile;

    const ROWS: usize = C::ROWS;
    const COLS: usize = C::COLS;
    const STEPS: usize = C::STEPS;
    const PART: usize = C::PART.next_multiple_of(PROMOTION);
    const ROW_BLOCK: usize = C::ROW_BLOCK;
    const COL_BLOCK: usize = C::COL_BLOCK;

    #[inline(always)]
    fn pack_a(&self, a: &Operand<'_>, vectors: Range<usize>, k: Range<usize>, panels: &mut [C::A]) {
        self.chain.pack_a(a, vectors, k, panels);
    }

    #[inline(always)]
    fn pack_b(&self, b: &Operand<'_>, vectors: Range<usize>, k: Range<usize>, panels: &mut [C::B]) {
        self.chain.pack_b(b, vectors, k, panels);
    }

    #[inline(always)]
    fn add(&self, at: Place, a: &[C::A], b: &[C::B], tile: &mut C::Tile) {
        let steps = PROMOTION / C::STEPS;
        for (block, (a, b)) in a.chunks(steps).zip(b.chunks(steps)).enumerate() {
            let at = Place { k: at.k + block * PROMOTION, ..at };
            let mut partial = C::Tile::zeroed();
            self.chain.add(at, a, b, &mut partial);
            self.promote(at, &partial, tile);
        }
    }
}

impl<C: Chain> Promoted<'_, C> {
    #[inline(always)]
    fn promote(&self, at: Place, partial: &C::Tile, tile: &mut C::Tile) {
        let cols: [f32; MAX_COLS] =
            std::array::from_fn(
                |j| {
                    if j < C::COLS { self.factor_of_b(at.col + j, at.k) } else { 0.0 }
                },
            );
        let partial: &[f32] = bytemuck::cast_slice(std::slice::from_ref(partial));
        let sums: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(tile));
        let rows = sums.chunks_exact_mut(C::COLS).zip(partial.chunks_exact(C::COLS));
        for (i, (sums, partial)) in rows.enumerate() {
            let row = self.factor_of_a(at.row + i, at.k);
            for ((sum, partial), col) in sums.iter_mut().zip(partial).zip(&cols) {
                *sum = (row * col).mul_add(*partial, *sum);
            }
        }
    }

    #[inline(always)]
    fn factor_of_a(&self, vector: usize, k: usize) -> f32 {
        self.scales.map_or(1.0, |scales| scales.factor(scales.a, vector, k))
    }

    #[inline(always)]
    fn factor_of_b(&self, vector: usize, k: usize) -> f32 {
        self.scales.map_or(1.0, |scales| {
            scales.factor(scales.b, vector >> scales.b_vectors.trailing_zeros(), k)
        })
    }
}

impl Scales<'_> {
    /// Vectors that only fill a tile up have none.
    #[inline(always)]
    fn factor(&self, factors: &[f32], row: usize, k: usize) -> f32 {
        factors.get(row * self.blocks + k / PROMOTION).copied().unwrap_or_default()
    }
}
