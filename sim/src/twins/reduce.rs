//! Canonical reductions: the order is fixed, so the bits are.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    floats::canonical,
    reduce::{CHUNK, canonical_sum, canonical_sum_of},
    workers::{PerGrain, Workers},
};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("sum", sum),
    ("sum_squares", sum_squares),
    ("sum_squares_dequantized", sum_squares_dequantized),
    ("clip", clip),
];

fn sum(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(0);
    let (x, y) = (args.read::<f32>(0, n)?, args.write(1, 1)?);
    y[0] = sum_of(
        workers,
        n,
        #[inline(always)]
        |first, row| row.copy_from_slice(&x[first..first + row.len()]),
    );
    Ok(())
}

fn sum_squares(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(0);
    let (x, y) = (args.floats(0, n)?, args.write(1, 1)?);
    y[0] = sum_of(
        workers,
        n,
        #[inline(always)]
        |first, row| {
            x.load(first, row);
            row.iter_mut().for_each(|value| *value *= *value);
        },
    );
    Ok(())
}

fn sum_squares_dequantized(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(0);
    let (code, scale_inv) = (args.states(0, n)?, args.read::<f32>(1, 1)?[0]);
    let y = args.write(2, 1)?;
    y[0] = sum_of(
        workers,
        n,
        #[inline(always)]
        |first, row| {
            code.load(first, row);
            for value in row {
                let g = *value * scale_inv;
                *value = g * g;
            }
        },
    );
    Ok(())
}

fn clip(args: &mut Args<'_>, _workers: &Workers) -> Result<()> {
    let sums = args.read(0, args.elements(0))?;
    let amaxes = args.read::<f32>(1, args.elements(1))?;
    let (norm, factor) = (args.write(2, 1)?, args.write(3, 1)?);
    let (skip, max_norm) = (args.write(4, 1)?, args.f32(5));
    norm[0] = canonical(canonical_sum(sums).sqrt());
    let finite = norm[0].is_finite() && amaxes.iter().all(|amax| amax.is_finite());
    skip[0] = u32::from(!finite);
    factor[0] = if finite && norm[0] > max_norm { canonical(max_norm / norm[0]) } else { 1.0 };
    Ok(())
}

/// The canonical sum of `n` values, chunks of them shared out over the threads; `fill` as for
/// [`canonical_sum_of`].
fn sum_of(workers: &Workers, n: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> f32 {
    let mut sums = vec![0.0; n.div_ceil(CHUNK)];
    workers.rows(
        n,
        CHUNK,
        PerGrain { values: sums.as_mut_slice(), grain: CHUNK },
        #[inline(always)]
        |range, sum| {
            sum.values.fill(canonical_sum_of(
                range.len(),
                #[inline(always)]
                |first, row| fill(range.start + first, row),
            ));
        },
    );
    // The sum of one chunk comes out of the second sum as it went in: it is never -0.
    canonical(canonical_sum(&sums))
}
