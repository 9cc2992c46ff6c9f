//! Quantisation in groups whose range is expanded.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    groups::{Expansion, GROUP, GroupsMut},
    states::{BLOCK, GRAIN, blocks},
    workers::Workers,
};

pub(super) const TWINS: &[(&str, Twin)] =
    &[("quantize_groups", quantize_groups), ("dequantize_groups", dequantize_groups)];

fn quantize_groups(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(1);
    let (expansion, x) = (expansion(args, 1)?, args.floats(0, n)?);
    let (code, scale) = (args.states_mut(1, n)?, args.write(2, 2 * n.div_ceil(GROUP))?);
    workers.rows(
        n,
        GRAIN,
        (code, GroupsMut::new(expansion, scale)),
        #[inline(always)]
        |range, (mut code, mut groups)| {
            let mut values = [0.0; BLOCK];
            for block in blocks(range.clone()) {
                let (first, values) = (block.start - range.start, &mut values[..block.len()]);
                x.load(block.start, values);
                groups.encode(first, values);
                code.store(first, values);
            }
        },
    );
    Ok(())
}

fn dequantize_groups(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(2);
    let (expansion, code) = (expansion(args, 0)?, args.states(0, n)?);
    let groups = args.read::<f32>(1, 2 * n.div_ceil(GROUP))?.as_chunks().0;
    workers.rows(
        n,
        GRAIN,
        args.floats_mut(2, n)?,
        #[inline(always)]
        |range, mut y| {
            let mut values = [0.0; BLOCK];
            for block in blocks(range.clone()) {
                let values = &mut values[..block.len()];
                code.load(block.start, values);
                expansion.decode(values, &groups[block.start / GROUP..]);
                y.store(block.start - range.start, values);
            }
        },
    );
    Ok(())
}

fn expansion(args: &Args<'_>, index: usize) -> Result<Expansion> {
    let dtype = args.dtype(index);
    Expansion::of(dtype).ok_or_else(|| args.invalid(index, "FP8".into(), dtype.to_string()))
}
