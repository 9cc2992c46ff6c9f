//! Accumulation models: how the products of one output are summed.

/// Rows of a tile of outputs. With [`COLS`] it makes twelve vectors of eight, which leaves four of
/// the sixteen registers of AVX2 for the operands.
pub(super) const ROWS: usize = 6;
/// Columns of a tile of outputs.
pub(super) const COLS: usize = 16;

/// The accumulators of a tile, in vectors of eight columns.
pub(super) type Tile = [[[f32; 8]; COLS / 8]; ROWS];

/// sum = fma(a, b, sum) for k ascending. Each step of `a` and `b` holds one k.
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
