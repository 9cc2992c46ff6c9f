//! Accumulation models: how the products of one output are summed.
//!
//! A model works on a tile of outputs at a time, over panels of widened operands. It is plain Rust
//! over arrays as long as a vector; compiled for AVX2, the tile of [`Fma`] stays in registers.

/// Rows of a tile. With [`COLS`] they make twelve vectors of eight, which leaves four of the
/// sixteen registers of AVX2 for the operands.
pub(super) const ROWS: usize = 6;
/// Columns of a tile.
pub(super) const COLS: usize = 16;

/// The accumulators of a tile, in vectors of eight columns.
pub(super) type Tile = [[[f32; 8]; COLS / 8]; ROWS];

/// An accumulation model.
pub(super) trait Chain: Copy + Sync {
    /// Whether it reads the exponents of a panel.
    const EXPONENTS: bool;

    /// Adds the products of some steps of k, ascending, to a tile that holds those of all steps
    /// before, or +0. Should be `#[inline(always)]`.
    fn add(&self, at: Place, a: Panel<'_, ROWS>, b: Panel<'_, COLS>, tile: &mut Tile);
}

/// The first row, column and step of k that a tile is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) col: usize,
    /// A multiple of the steps after which any model starts anew.
    pub(super) k: usize,
}

/// Steps of k of as many vectors as a tile has rows or columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel<'a, const W: usize> {
    pub(super) values: &'a [[f32; W]],
    /// Those of the values, as [`exponents`](super::operand::exponents) writes them; none if the
    /// model does not read them.
    pub(super) exponents: &'a [[u16; W]],
}

impl<'a, const W: usize> Panel<'a, W> {
    /// `steps` steps at a time, the last time perhaps fewer.
    #[inline(always)]
    pub(super) fn chunks(self, steps: usize) -> impl Iterator<Item = Self> {
        (0..self.values.len()).step_by(steps).map(
            #[inline(always)]
            move |first| self.part(first, steps.min(self.values.len() - first)),
        )
    }

    /// The `steps` steps from `first` on.
    #[inline(always)]
    pub(super) fn part(self, first: usize, steps: usize) -> Self {
        let range = first..first + steps;
        Self {
            values: &self.values[range.clone()],
            exponents: self.exponents.get(range).unwrap_or_default(),
        }
    }
}

/// The model of a CPU: acc = fma(a, b, acc).
#[derive(Clone, Copy, Debug)]
pub(super) struct Fma;

impl Chain for Fma {
    const EXPONENTS: bool = false;

    #[inline(always)]
    fn add(&self, _: Place, a: Panel<'_, ROWS>, b: Panel<'_, COLS>, tile: &mut Tile) {
        let mut sums = *tile;
        for (a, b) in a.values.iter().zip(b.values) {
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
