//! Tiles along the columns of a matrix, written as rows.

use std::array;

use fp8lm_formats::{Fp8, layout::Layout};

use super::{
    SIDE,
    factor::{Rule, finite},
};
use crate::{
    floats::Floats,
    workers::{RowsOf, Workers},
};

/// Columns that are cast at a time, and rows of the result.
const STRIP: usize = 64;

/// The codes [cols, rows] and factors [cols, ceil(rows / 128)] of `x` [rows, cols].
pub(super) fn transposed<L: Layout>(
    workers: &Workers,
    x: Floats<'_>,
    (rows, cols): (usize, usize),
    rule: Rule,
    code_t: &mut [Fp8<L>],
    factors: &mut [f32],
) {
    let tiles = rows.div_ceil(SIDE);
    let outputs =
        (RowsOf { values: code_t, width: rows }, RowsOf { values: factors, width: tiles });
    workers.rows(
        cols,
        STRIP,
        outputs,
        #[inline(always)]
        |strip, (code, factors)| {
            let mut values = [[0.0; STRIP]; SIDE];
            for (tile, first) in (0..rows).step_by(SIDE).enumerate() {
                let values = &mut values[..SIDE.min(rows - first)];
                for (row, values) in (first..).zip(&mut *values) {
                    x.load(row * cols + strip.start, &mut values[..strip.len()]);
                }
                let column_factors = scale::<L>(values, rule);
                for c in 0..strip.len() {
                    factors.values[c * tiles + tile] = column_factors[c];
                    let code = &mut code.values[c * rows + first..];
                    for (code, values) in code.iter_mut().zip(&*values) {
                        *code = Fp8::from_f32_saturating(values[c]);
                    }
                }
            }
        },
    );
}

/// Divides each column by its factor.
#[inline(always)]
fn scale<L: Layout>(values: &mut [[f32; STRIP]], rule: Rule) -> [f32; STRIP] {
    let mut largest = [0; STRIP];
    for row in &*values {
        for (largest, value) in largest.iter_mut().zip(row) {
            *largest = finite(*value).max(*largest);
        }
    }
    let factors = array::from_fn(|c| rule.factor::<L>(f32::from_bits(largest[c])));
    for row in values {
        for (value, factor) in row.iter_mut().zip(factors) {
            *value /= factor;
        }
    }
    factors
}
