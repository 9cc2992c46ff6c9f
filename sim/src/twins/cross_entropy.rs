//! Cross-entropy fused with softmax, loss and gradient in one pass over the logits.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    math::{exp, log},
    reduce::canonical_sum,
    workers::{RowsOf, Workers, grain},
};

pub(super) const TWINS: &[(&str, Twin)] = &[("cross_entropy", cross_entropy)];

fn cross_entropy(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols, gradient_scale) = (args.extent(4), args.extent(5), args.f32(6));
    let logits = args.floats(0, rows * cols)?;
    let targets = args.read::<u32>(1, rows)?;
    let loss = args.floats_mut(2, rows)?;
    let dlogits = RowsOf { values: args.floats_mut(3, rows * cols)?, width: cols };
    workers.rows(
        rows,
        grain(cols),
        (loss, dlogits),
        #[inline(always)]
        |range, (mut loss, mut dlogits)| {
            let mut row = workers.scratch(cols);
            for (i, r) in range.enumerate() {
                logits.load(r * cols, &mut row);
                loss.store(i, &[forward_backward(&mut row, targets[r] as usize, gradient_scale)]);
                dlogits.values.store(i * cols, &row);
            }
        },
    );
    Ok(())
}

/// Turns a row of logits into their gradients and returns the loss.
#[inline(always)]
fn forward_backward(row: &mut [f32], target: usize, gradient_scale: f32) -> f32 {
    let (max, at_target) = (maximum(row), row.get(target).copied());
    row.iter_mut().for_each(|x| *x = exp(*x - max));
    // Without a target everything below is NaN.
    let sum = if at_target.is_some() { canonical_sum(row) } else { f32::NAN };
    row.iter_mut().for_each(|p| *p /= sum);
    if let Some(p) = row.get_mut(target) {
        *p -= 1.0;
    }
    row.iter_mut().for_each(|gradient| *gradient *= gradient_scale);
    max + log(sum) - at_target.unwrap_or(f32::NAN)
}

/// The largest value. A NaN is passed over; the sum that follows meets it again.
#[inline(always)]
fn maximum(row: &[f32]) -> f32 {
    const LANES: usize = 32;
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, x)| *lane = greater(*lane, *x));
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, x| greater(max, *x))
}
