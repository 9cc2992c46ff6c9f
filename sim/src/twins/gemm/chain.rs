//! Accumulation models: how the products of one output are summed.
//!
//! A model works on a tile of outputs at a time, over panels of widened operands. It is plain Rust
//! over arrays as long as a vector; compiled for AVX2, the tile of [`fma`] stays in registers.

/// Rows of a tile. With [`COLS`] they make twelve vectors of eight, which leaves four of the
/// sixteen registers of AVX2 for the operands.
pub(super) const ROWS: usize = 6;
/// Columns of a tile.
pub(super) const COLS: usize = 16;

/// The accumulators of a tile, in vectors of eight columns.
pub(super) type Tile = [[[f32; 8]; COLS / 8]; ROWS];

/// An accumulation model: adds the products of some steps of k, ascending, to a tile that holds
/// those of all steps before, or +0. Each step has a value for every row and for every column.
pub(super) trait Chain: Fn(&[[f32; ROWS]], &[[f32; COLS]], &mut Tile) + Copy + Sync {}

impl<F: Fn(&[[f32; ROWS]], &[[f32; COLS]], &mut Tile) + Copy + Sync> Chain for F {}

/// The model of a CPU: acc = fma(a, b, acc).
#[inline(always)]
pub(super) fn fma(a: &[[f32; ROWS]], b: &[[f32; COLS]], tile: &mut Tile) {
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
