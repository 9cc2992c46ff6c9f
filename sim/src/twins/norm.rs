//! RMSNorm and LayerNorm, forward and backward.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    reduce::{CHUNK_ROWS, add_partials, add_row, canonical_sum, canonical_sum_of, column_partials},
    scratch::Scratch,
    workers::{RowsOf, Workers, grain},
};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("rms_norm", rms_norm),
    ("rms_norm_backward", rms_norm_backward),
    ("layer_norm", layer_norm),
    ("layer_norm_backward", layer_norm_backward),
];

fn rms_norm(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols, eps) = (args.extent(4), args.extent(5), args.f32(6));
    let x = args.floats(0, rows * cols)?;
    let gain = vector(args, workers, 1, cols)?;
    let y = RowsOf { values: args.floats_mut(2, rows * cols)?, width: cols };
    let rstd = args.floats_mut(3, rows)?;
    workers.rows(
        rows,
        grain(cols),
        (y, rstd),
        #[inline(always)]
        |range, (mut y, mut rstd)| {
            let mut row = workers.scratch(cols);
            for (i, r) in range.enumerate() {
                x.load(r * cols, &mut row);
                let scale = reciprocal_root(mean_product(&row, &row) + eps);
                row.iter_mut().zip(&*gain).for_each(|(x, gain)| *x = *x * scale * gain);
                y.values.store(i * cols, &row);
                rstd.store(i, &[scale]);
            }
        },
    );
    Ok(())
}

fn rms_norm_backward(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(6), args.extent(7));
    let (dy, x) = (args.floats(0, rows * cols)?, args.floats(1, rows * cols)?);
    let gain = vector(args, workers, 2, cols)?;
    let rstd = args.read::<f32>(3, rows)?;
    let dx = RowsOf { values: args.floats_mut(4, rows * cols)?, width: CHUNK_ROWS * cols };
    let dgain = args.write(5, cols)?;
    let mut partials = column_partials(rows, cols);
    workers.rows(
        rows.div_ceil(CHUNK_ROWS),
        1,
        (dx, RowsOf { values: partials.as_mut_slice(), width: cols }),
        #[inline(always)]
        |chunks, (mut dx, dgain)| {
            let (mut w, mut xhat) = (workers.scratch(cols), workers.scratch(cols));
            for (i, r) in rows_of(chunks.start, rows).enumerate() {
                dy.load(r * cols, &mut w);
                x.load(r * cols, &mut xhat);
                xhat.iter_mut().for_each(|x| *x *= rstd[r]);
                add_products(dgain.values, &w, &xhat);
                multiply(&mut w, &gain);
                let c = mean_product(&w, &xhat);
                let pairs = w.iter_mut().zip(&*xhat);
                pairs.for_each(|(w, xhat)| *w = (*w - xhat * c) * rstd[r]);
                dx.values.store(i * cols, &w);
            }
        },
    );
    add_partials(partials, dgain);
    Ok(())
}

fn layer_norm(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols, eps) = (args.extent(6), args.extent(7), args.f32(8));
    let x = args.floats(0, rows * cols)?;
    let (gain, shift) = (vector(args, workers, 1, cols)?, vector(args, workers, 2, cols)?);
    let y = RowsOf { values: args.floats_mut(3, rows * cols)?, width: cols };
    let (means, rstd) = (args.floats_mut(4, rows)?, args.floats_mut(5, rows)?);
    workers.rows(
        rows,
        grain(cols),
        (y, means, rstd),
        #[inline(always)]
        |range, (mut y, mut means, mut rstd)| {
            let mut row = workers.scratch(cols);
            for (i, r) in range.enumerate() {
                x.load(r * cols, &mut row);
                let mean = mean(&row);
                row.iter_mut().for_each(|x| *x -= mean);
                let scale = reciprocal_root(mean_product(&row, &row) + eps);
                row.iter_mut()
                    .zip(gain.iter().zip(&*shift))
                    .for_each(|(d, (gain, shift))| *d = *d * scale * gain + shift);
                y.values.store(i * cols, &row);
                means.store(i, &[mean]);
                rstd.store(i, &[scale]);
            }
        },
    );
    Ok(())
}

fn layer_norm_backward(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(8), args.extent(9));
    let (dy, x) = (args.floats(0, rows * cols)?, args.floats(1, rows * cols)?);
    let gain = vector(args, workers, 2, cols)?;
    let (means, rstd) = (args.read::<f32>(3, rows)?, args.read::<f32>(4, rows)?);
    let dx = RowsOf { values: args.floats_mut(5, rows * cols)?, width: CHUNK_ROWS * cols };
    let (dgain, dshift) = (args.write(6, cols)?, args.write(7, cols)?);
    let (mut gains, mut shifts) = (column_partials(rows, cols), column_partials(rows, cols));
    let partials = (
        RowsOf { values: gains.as_mut_slice(), width: cols },
        RowsOf { values: shifts.as_mut_slice(), width: cols },
    );
    workers.rows(
        rows.div_ceil(CHUNK_ROWS),
        1,
        (dx, partials),
        #[inline(always)]
        |chunks, (mut dx, (dgain, dshift))| {
            let (mut w, mut xhat) = (workers.scratch(cols), workers.scratch(cols));
            for (i, r) in rows_of(chunks.start, rows).enumerate() {
                dy.load(r * cols, &mut w);
                x.load(r * cols, &mut xhat);
                xhat.iter_mut().for_each(|x| *x = (*x - means[r]) * rstd[r]);
                add_products(dgain.values, &w, &xhat);
                add_row(dshift.values, &w);
                multiply(&mut w, &gain);
                let (a, c) = (mean(&w), mean_product(&w, &xhat));
                let pairs = w.iter_mut().zip(&*xhat);
                pairs.for_each(|(w, xhat)| *w = (*w - a - xhat * c) * rstd[r]);
                dx.values.store(i * cols, &w);
            }
        },
    );
    add_partials(gains, dgain);
    add_partials(shifts, dshift);
    Ok(())
}

/// A parameter vector in f32.
fn vector<'a>(
    args: &Args<'_>,
    workers: &'a Workers,
    index: usize,
    cols: usize,
) -> Result<Scratch<'a, f32>> {
    let mut values = workers.scratch(cols);
    args.floats(index, cols)?.load(0, &mut values);
    Ok(values)
}

/// The rows of a chunk of [`CHUNK_ROWS`].
#[inline(always)]
fn rows_of(chunk: usize, rows: usize) -> std::ops::Range<usize> {
    chunk * CHUNK_ROWS..rows.min((chunk + 1) * CHUNK_ROWS)
}

#[inline(always)]
fn mean(row: &[f32]) -> f32 {
    canonical_sum(row) / row.len() as f32
}

/// The mean of the rounded products.
#[inline(always)]
fn mean_product(a: &[f32], b: &[f32]) -> f32 {
    let sum = canonical_sum_of(
        a.len(),
        #[inline(always)]
        |first, products| {
            let pairs = a[first..].iter().zip(&b[first..]);
            products.iter_mut().zip(pairs).for_each(|(product, (a, b))| *product = a * b);
        },
    );
    sum / a.len() as f32
}

#[inline(always)]
fn reciprocal_root(x: f32) -> f32 {
    1.0 / x.sqrt()
}

#[inline(always)]
fn multiply(row: &mut [f32], factors: &[f32]) {
    row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
}

#[inline(always)]
fn add_products(sums: &mut [f32], a: &[f32], b: &[f32]) {
    let pairs = a.iter().zip(b);
    sums.iter_mut().zip(pairs).for_each(|(sum, (a, b))| *sum += a * b);
}
