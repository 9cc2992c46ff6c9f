//! Casts a matrix block by block.

use std::ops::Range;

use fp8lm_formats::{Fp8, layout::Layout};

use super::{
    super::quantize::Tally,
    Blocks, SIDE,
    factor::{INFINITY, Rule, finite},
};
use crate::{
    floats::Floats,
    scale,
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
            tally.values[0] = encoder.encode_rows(range, code.values, factors.values[0]);
        },
    );
    tallies.into_iter().fold(Tally::default(), Tally::and)
}

impl Encoder<'_> {
    #[inline(always)]
    fn encode_rows<L: Layout>(
        &self,
        rows: Range<usize>,
        code: &mut [Fp8<L>],
        factors: &mut [f32],
    ) -> Tally {
        let (cols, Blocks { height, width }) = (self.cols, self.blocks);
        let mut tally = Tally::default();
        let across = factors.chunks_mut(cols.div_ceil(width));
        for ((row, code), factors) in
            rows.clone().step_by(height).zip(code.chunks_mut(height * cols)).zip(across)
        {
            let rows = row..rows.end.min(row + height);
            for (col, factor) in (0..cols).step_by(width).zip(factors) {
                let place = Place { rows: rows.clone(), cols: col..cols.min(col + width) };
                *factor = self.rule.factor::<L>(self.largest(&place));
                tally = tally.and(self.encode_block(&place, *factor, code));
            }
        }
        tally
    }

    /// The largest finite magnitude of a block.
    #[inline(always)]
    fn largest(&self, place: &Place) -> f32 {
        let mut values = [0.0; SIDE];
        let values = &mut values[..place.cols.len()];
        let mut largest = 0;
        for row in place.rows.clone() {
            self.x.load(row * self.cols + place.cols.start, values);
            largest = values.iter().map(|value| finite(*value)).fold(largest, u32::max);
        }
        f32::from_bits(largest)
    }

    /// Casts a block into `code`, whose first row is the block's.
    #[inline(always)]
    fn encode_block<L: Layout>(&self, place: &Place, factor: f32, code: &mut [Fp8<L>]) -> Tally {
        let mut values = [0.0; SIDE];
        let values = &mut values[..place.cols.len()];
        let mut tally = Tally::default();
        for (row, code) in place.rows.clone().zip(code.chunks_mut(self.cols)) {
            let code = &mut code[place.cols.clone()];
            self.x.load(row * self.cols + place.cols.start, values);
            tally = tally.and(if self.divide {
                encode_run(values, |value| value / factor, code)
            } else {
                let reciprocal = 1.0 / factor;
                encode_run(values, |value| value * reciprocal, code)
            });
        }
        tally
    }
}

/// Where a block lies.
struct Place {
    rows: Range<usize>,
    cols: Range<usize>,
}

#[inline(always)]
fn encode_run<L: Layout>(
    values: &[f32],
    scaled: impl Fn(f32) -> f32,
    code: &mut [Fp8<L>],
) -> Tally {
    let (mut over, mut under) = (0u32, 0u32);
    for (code, value) in code.iter_mut().zip(values) {
        let scaled = scaled(*value);
        let magnitude = scaled.to_bits() & !scale::SIGN;
        *code = Fp8::from_f32_saturating(scaled);
        over += u32::from(magnitude > in_range::<L>() && magnitude <= INFINITY);
        under += u32::from(*value != 0.0 && code.to_bits() & 0x7F == 0);
    }
    Tally { amax: scale::amax(0.0, values), over: over.into(), under: under.into() }
}

/// The bits of the largest magnitude that rounds to a finite value of the format. The tie above the
/// maximum goes to it where its fraction is even.
#[inline(always)]
fn in_range<L: Layout>() -> u32 {
    let max = Fp8::<L>::MAX;
    let half_step = (1 << (23 - L::MANTISSA_BITS)) / 2;
    max.to_f32().to_bits() + half_step - u32::from(max.to_bits() & 1)
}
