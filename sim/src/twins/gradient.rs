//! Accumulation of gradients over micro-batches, and automatic scaling.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    floats::canonical,
    states::{Aligned, BLOCK, GRAIN, States, blocks},
    workers::Workers,
};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("accumulate", accumulate),
    ("accumulate_dequantized", accumulate_dequantized),
    ("auto_scale", auto_scale),
];

fn accumulate(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(1);
    let (x, y) = (args.states(0, n)?, args.write(1, n)?);
    add(workers, x, 1.0, y);
    Ok(())
}

fn accumulate_dequantized(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(2);
    let (code, scale_inv) = (args.states(0, n)?, args.read::<f32>(1, 1)?[0]);
    add(workers, code, scale_inv, args.write(2, n)?);
    Ok(())
}

/// y = y + x * factor, both rounded; a factor of 1 changes no bit of x.
fn add(workers: &Workers, x: States<'_>, factor: f32, y: &mut [f32]) {
    workers.rows(
        y.len(),
        GRAIN,
        y,
        #[inline(always)]
        |range, y| {
            let mut terms = Aligned::<BLOCK>::default();
            for (block, y) in blocks(range).zip(y.chunks_mut(BLOCK)) {
                let terms = &mut terms.0[..block.len()];
                x.load(block.start, terms);
                for (y, term) in y.iter_mut().zip(&*terms) {
                    *y = canonical(*y + term * factor);
                }
            }
        },
    );
}

fn auto_scale(args: &mut Args<'_>, _workers: &Workers) -> Result<()> {
    let (counts, largest) = (args.read::<u64>(0, 2)?, args.read::<u64>(1, 1)?);
    let (skip, mu) = (args.read::<u32>(2, 1)?, args.write::<f32>(3, 1)?);
    let (elements, casts) = (args.u64(4), args.u64(5));
    if skip[0] != 0 {
        return Ok(());
    }
    let count = u128::from(counts[0]).max(u128::from(casts) * u128::from(largest[0]));
    let overflows = count > u128::from(elements) / 100_000;
    let next = if overflows { mu[0] / 2.0 } else { mu[0] * GROWTH };
    mu[0] = canonical(next.clamp(SMALLEST, LARGEST));
    Ok(())
}

/// 2^(1/1000), rounded to f32.
const GROWTH: f32 = f32::from_bits(0x3F80_16B9);
/// 2^-16.
const SMALLEST: f32 = 1.0 / LARGEST;
/// 2^16.
const LARGEST: f32 = 65_536.0;
