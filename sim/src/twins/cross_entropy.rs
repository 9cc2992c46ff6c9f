//! Cross-entropy fused with softmax, loss and gradient in one pass over the logits; and in three steps, between which
//! members of a group agree.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    floats::FloatsMut,
    math::{exp, log},
    reduce::canonical_sum,
    workers::{RowsOf, Workers, grain},
};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("cross_entropy", cross_entropy),
    ("cross_entropy_maxima", cross_entropy_maxima),
    ("cross_entropy_sums", cross_entropy_sums),
    ("cross_entropy_gradient", cross_entropy_gradient),
];

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

fn cross_entropy_maxima(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(2), args.extent(3));
    let logits = args.floats(0, rows * cols)?;
    let maxima = args.write::<f32>(1, rows)?;
    workers.rows(
        rows,
        grain(cols),
        maxima,
        #[inline(always)]
        |range, maxima| {
            let mut row = workers.scratch(cols);
            for (max, r) in maxima.iter_mut().zip(range) {
                logits.load(r * cols, &mut row);
                // -0 becomes +0, so that all orders have the same bits.
                *max = maximum(&row) + 0.0;
            }
        },
    );
    Ok(())
}

fn cross_entropy_sums(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(4), args.extent(5));
    let (first, vocabulary) = (args.extent(6), args.extent(7));
    let (logits, targets) = (args.floats(0, rows * cols)?, args.read::<u32>(1, rows)?);
    let maxima = args.read::<f32>(2, rows)?;
    let (sums, at_targets) = args.write::<f32>(3, 2 * rows)?.split_at_mut(rows);
    workers.rows(
        rows,
        grain(cols),
        (FloatsMut::F32(sums), FloatsMut::F32(at_targets)),
        #[inline(always)]
        |range, (mut sums, mut at_targets)| {
            let mut row = workers.scratch(cols);
            for (i, r) in range.enumerate() {
                logits.load(r * cols, &mut row);
                let target = targets[r] as usize;
                at_targets.store(
                    i,
                    &[column(target, first).and_then(|j| row.get(j)).copied().unwrap_or(0.0)],
                );
                row.iter_mut().for_each(|x| *x = exp(*x - maxima[r]));
                sums.store(i, &[if target < vocabulary { canonical_sum(&row) } else { f32::NAN }]);
            }
        },
    );
    Ok(())
}

fn cross_entropy_gradient(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols, first) = (args.extent(6), args.extent(7), args.extent(8));
    let gradient_scale = args.f32(9);
    let (logits, targets) = (args.floats(0, rows * cols)?, args.read::<u32>(1, rows)?);
    let maxima = args.read::<f32>(2, rows)?;
    let (sums, at_targets) = args.read::<f32>(3, 2 * rows)?.split_at(rows);
    let loss = args.floats_mut(4, rows)?;
    let dlogits = RowsOf { values: args.floats_mut(5, rows * cols)?, width: cols };
    workers.rows(
        rows,
        grain(cols),
        (loss, dlogits),
        #[inline(always)]
        |range, (mut loss, mut dlogits)| {
            let mut row = workers.scratch(cols);
            for (i, r) in range.enumerate() {
                logits.load(r * cols, &mut row);
                row.iter_mut().for_each(|x| *x = exp(*x - maxima[r]));
                let target = column(targets[r] as usize, first).unwrap_or(cols);
                gradients(&mut row, target, sums[r], gradient_scale);
                loss.store(i, &[maxima[r] + log(sums[r]) - at_targets[r]]);
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
    gradients(row, target, sum, gradient_scale);
    max + log(sum) - at_target.unwrap_or(f32::NAN)
}

/// Turns exponentials, which add up to `sum` on all members, into gradients.
#[inline(always)]
fn gradients(row: &mut [f32], target: usize, sum: f32, gradient_scale: f32) {
    row.iter_mut().for_each(|p| *p /= sum);
    if let Some(p) = row.get_mut(target) {
        *p -= 1.0;
    }
    row.iter_mut().for_each(|gradient| *gradient *= gradient_scale);
}

/// The column that has the target, if it is not before the first.
fn column(target: usize, first: usize) -> Option<usize> {
    target.checked_sub(first)
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
