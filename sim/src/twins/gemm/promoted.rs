//! Chains that start anew every 128 steps of k and are summed in f32.

use super::chain::{COLS, Chain, Panel, Place, ROWS, Tile};
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
    /// Vectors of b that share a factor.
    pub(super) b_vectors: usize,
    /// Blocks along k.
    pub(super) blocks: usize,
}

impl<C: Chain> Chain for Promoted<'_, C> {
    const EXPONENTS: bool = C::EXPONENTS;

    #[inline(always)]
    fn add(&self, at: Place, a: Panel<'_, ROWS>, b: Panel<'_, COLS>, tile: &mut Tile) {
        for (block, (a, b)) in a.chunks(PROMOTION).zip(b.chunks(PROMOTION)).enumerate() {
            let at = Place { k: at.k + block * PROMOTION, ..at };
            let mut partial = Tile::default();
            self.chain.add(at, a, b, &mut partial);
            let (rows, cols) = self.factors(at);
            for ((sums, partial), row) in tile.iter_mut().zip(&partial).zip(rows) {
                let sums = sums.as_flattened_mut().iter_mut();
                for ((sum, partial), col) in sums.zip(partial.as_flattened()).zip(cols) {
                    *sum = (row * col).mul_add(*partial, *sum);
                }
            }
        }
    }
}

impl<C> Promoted<'_, C> {
    /// The factors of a tile's rows and of its columns. Those that only fill the tile up have none.
    #[inline(always)]
    fn factors(&self, at: Place) -> ([f32; ROWS], [f32; COLS]) {
        let Some(Scales { a, b, b_vectors, blocks }) = self.scales else {
            return ([1.0; ROWS], [1.0; COLS]);
        };
        let block = at.k / PROMOTION;
        let factor = |factors: &[f32], vector| {
            factors.get(vector * blocks + block).copied().unwrap_or_default()
        };
        let rows = std::array::from_fn(|i| factor(a, at.row + i));
        (rows, std::array::from_fn(|j| factor(b, (at.col + j) / b_vectors)))
    }
}
