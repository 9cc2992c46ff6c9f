//! Casts a matrix block by block.

use std::ops::Range;

use fp8lm_formats::{Fp8, Isa, Overflow, Runs, layout::Layout};

use super::{
    Blocks, SIDE,
    factor::{Rule, finite},
};
use crate::{
    floats::Floats,
    scale,
    tally::{CHUNK, Tally, overflows, underflows},
    workers::{PerGrain, RowsOf, Workers},
};

/// A cast of a matrix.
pub(super) struct Encoder<'a> {
    pub(super) x: Floats<'a>,
    pub(super) cols: usize,
    pub(super) blocks: Blocks,
    pub(super) rule: Rule,
    /// Whether values are divided by the factor, or multiplied by its reciprocal.
    pub(super) divide: bool,
}

/// Writes the codes and the factors.
pub(super) fn encode<L: Layout>(
    encoder: &Encoder<'_>,
    workers: &Workers,
    code: &mut [Fp8<L>],
    factors: &mut [f32],
) -> Tally {
    if code.is_empty() {
        return Tally::default();
    }
    let Encoder { cols, blocks: Blocks { height, width }, .. } = *encoder;
    let rows = code.len() / cols;
    let isa = workers.isa();
    let mut tallies = vec![Tally::default(); rows.div_ceil(SIDE)];
    let mut factors: Vec<_> = factors.chunks_mut(SIDE / height * cols.div_ceil(width)).collect();
    let outputs = (
        RowsOf { values: code, width: cols },
        PerGrain { values: factors.as_mut_slice(), grain: SIDE },
        PerGrain { values: tallies.as_mut_slice(), grain: SIDE },
    );
    workers.rows(
        rows,
        SIDE,
        outputs,
        #[inline(always)]
        |range, (code, factors, tally)| {
            let (code, factors) = (code.values, &mut *factors.values[0]);
            tally.values[0] = if height == 1 {
                encoder.encode_tiles(isa, range, code, factors)
            } else {
                encoder.encode_blocks(isa, range, code, factors)
            };
        },
    );
    tallies.into_iter().fold(Tally::default(), Tally::and)
}

impl Encoder<'_> {
    /// Casts rows in blocks of one row.
    #[inline(always)]
    fn encode_tiles<L: Layout>(
        &self,
        isa: Isa,
        rows: Range<usize>,
        code: &mut [Fp8<L>],
        factors: &mut [f32],
    ) -> Tally {
        let width = self.blocks.width;
        // Without short blocks all rows are as one.
        let cols = if self.cols.is_multiple_of(width) { code.len() } else { self.cols };
        let starts = (rows.start * self.cols..).step_by(cols);
        let (mut tally, mut buffer) = (Tally::default(), Vec::new());
        let rows = code.chunks_mut(cols).zip(factors.chunks_mut(cols.div_ceil(width)));
        for (start, (code, factors)) in starts.zip(rows) {
            let chunks = code.chunks_mut(CHUNK).zip(factors.chunks_mut(CHUNK / width));
            for (first, (code, factors)) in (start..).step_by(CHUNK).zip(chunks) {
                let values = self.x.read(first, code.len(), &mut buffer);
                let amax = self.tile_factors::<L>(values, factors);
                tally = tally.and(self.encode_chunk(isa, values, (factors, amax), code));
            }
        }
        tally
    }

    /// Finds the factors of the tiles that `values` are, and the largest magnitude.
    #[inline(always)]
    fn tile_factors<L: Layout>(&self, values: &[f32], factors: &mut [f32]) -> f32 {
        let width = self.blocks.width;
        for (factor, tile) in factors.iter_mut().zip(values.chunks(width)) {
            *factor = scale::amax(0.0, tile);
        }
        let amax = scale::amax(0.0, factors);
        if amax.is_infinite() {
            for (factor, tile) in factors.iter_mut().zip(values.chunks(width)) {
                *factor = largest_finite(0.0, tile);
            }
        }
        factors.iter_mut().for_each(|factor| *factor = self.rule.factor::<L>(*factor));
        amax
    }

    /// Casts the rows of one row of blocks.
    #[inline(always)]
    fn encode_blocks<L: Layout>(
        &self,
        isa: Isa,
        rows: Range<usize>,
        code: &mut [Fp8<L>],
        factors: &mut [f32],
    ) -> Tally {
        let width = self.blocks.width;
        self.block_amaxes(rows.clone(), factors);
        let amax = scale::amax(0.0, factors);
        if amax.is_infinite() {
            self.finite_amaxes(rows.clone(), factors);
        }
        factors.iter_mut().for_each(|factor| *factor = self.rule.factor::<L>(*factor));
        let (mut tally, mut buffer) = (Tally::default(), Vec::new());
        // Without short blocks several rows are as one.
        let together = if self.cols.is_multiple_of(width) { (CHUNK / self.cols).max(1) } else { 1 };
        let (factors, cols) = (factors.repeat(together), together * self.cols);
        let starts = (rows.start * self.cols..).step_by(cols);
        for (start, code) in starts.zip(code.chunks_mut(cols)) {
            let chunks = code.chunks_mut(CHUNK).zip(factors.chunks(CHUNK / width));
            for (first, (code, factors)) in (start..).step_by(CHUNK).zip(chunks) {
                let factors = &factors[..code.len().div_ceil(width)];
                let values = self.x.read(first, code.len(), &mut buffer);
                tally = tally.and(self.encode_chunk(isa, values, (factors, amax), code));
            }
        }
        tally
    }

    /// Finds the largest magnitude of every block of `rows`.
    #[inline(always)]
    fn block_amaxes(&self, rows: Range<usize>, blocks: &mut [f32]) {
        let (mut maxima, mut buffer) = (vec![0.0; self.cols], Vec::new());
        for first in rows.clone().step_by(4) {
            let values = rows.end.min(first + 4) * self.cols - first * self.cols;
            scale::raise_columns(&mut maxima, self.x.read(first * self.cols, values, &mut buffer));
        }
        for (block, maxima) in blocks.iter_mut().zip(maxima.chunks(self.blocks.width)) {
            *block = scale::amax(0.0, maxima);
        }
    }

    /// As [`block_amaxes`](Self::block_amaxes), of the finite ones.
    fn finite_amaxes(&self, rows: Range<usize>, blocks: &mut [f32]) {
        blocks.fill(0.0);
        let mut buffer = Vec::new();
        for row in rows {
            let values = self.x.read(row * self.cols, self.cols, &mut buffer);
            for (block, values) in blocks.iter_mut().zip(values.chunks(self.blocks.width)) {
                *block = largest_finite(*block, values);
            }
        }
    }

    /// Casts runs of a row, each with its factor.
    #[inline(always)]
    fn encode_chunk<L: Layout>(
        &self,
        isa: Isa,
        values: &[f32],
        (factors, amax): (&[f32], f32),
        code: &mut [Fp8<L>],
    ) -> Tally {
        let len = self.blocks.width;
        if self.divide {
            let runs = Runs { divisors: factors, len, amax, ahead: self.ahead() };
            Fp8::encode_runs_on(isa, values, runs, code, Overflow::Saturate);
        } else {
            for ((x, code), factor) in values.chunks(len).zip(code.chunks_mut(len)).zip(factors) {
                Fp8::encode_slice(x, 1.0 / factor, code, Overflow::Saturate);
            }
        }
        // Every other rule's factors bring what is finite into range.
        let fits = amax.is_finite() && self.rule != Rule::Ocp;
        let over = if fits { 0 } else { self.overflows::<L>(values, factors) };
        Tally { amax, over, under: underflows(values, code) }
    }

    /// How far from where it casts it reads next. A row of blocks is read twice: a small one lies in the second-level
    /// cache meanwhile, and of a large one it is the next row that takes long.
    fn ahead(&self) -> usize {
        match self.blocks.height * self.cols {
            _ if self.blocks.height == 1 => CHUNK,
            0..=SMALL => NEAR,
            row => row,
        }
    }

    #[inline(always)]
    fn overflows<L: Layout>(&self, values: &[f32], factors: &[f32]) -> u64 {
        let runs = values.chunks(self.blocks.width).zip(factors);
        runs.fold(0, |n, (values, factor)| {
            let reciprocal = 1.0 / factor;
            let largest = in_range::<L>();
            n + if self.divide {
                overflows(values, |x| x / factor, largest)
            } else {
                overflows(values, |x| x * reciprocal, largest)
            }
        })
    }
}

/// The larger of `largest` and the largest finite magnitude of `values`.
#[inline(always)]
fn largest_finite(largest: f32, values: &[f32]) -> f32 {
    f32::from_bits(values.iter().map(|x| finite(*x)).fold(largest.to_bits(), u32::max))
}

/// The largest magnitude that rounds to a finite value of the format. The tie above the maximum
/// goes to it where its fraction is even.
#[inline(always)]
fn in_range<L: Layout>() -> f32 {
    let max = Fp8::<L>::MAX;
    let half_step = (1 << (23 - L::MANTISSA_BITS)) / 2;
    f32::from_bits(max.to_f32().to_bits() + half_step - u32::from(max.to_bits() & 1))
}

/// Elements of a row of blocks that the second-level cache holds, half a megabyte.
const SMALL: usize = 1 << 17;
/// Elements that the first-level cache is to get in time from the second.
const NEAR: usize = 512;
