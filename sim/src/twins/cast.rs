//! Fills, conversions without a scale, transpositions, sums of two tensors.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    workers::{RowsOf, Workers},
};

pub(super) const TWINS: &[(&str, Twin)] = &[("add", add)];

/// Elements that one thread takes at a time; small enough to stay in the first-level cache.
const BLOCK: usize = 1024;

fn add(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(2);
    let (a, b) = (args.floats(0, n)?, args.floats(1, n)?);
    let y = RowsOf { values: args.floats_mut(2, n)?, width: 1 };
    workers.rows(
        n,
        BLOCK,
        y,
        #[inline(always)]
        |range, mut y| {
            let (mut sum, mut term) = ([0.0; BLOCK], [0.0; BLOCK]);
            let (sum, term) = (&mut sum[..range.len()], &mut term[..range.len()]);
            a.load(range.start, sum);
            b.load(range.start, term);
            sum.iter_mut().zip(&*term).for_each(|(sum, term)| *sum += term);
            y.values.store(0, sum);
        },
    );
    Ok(())
}
