//! Values stored under a scale that is given.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    floats::canonical,
    states::{BLOCK, GRAIN, blocks},
    workers::Workers,
};

pub(super) const TWINS: &[(&str, Twin)] = &[("scale", scale), ("reciprocal", reciprocal)];

fn scale(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(2);
    let (x, scale) = (args.floats(0, n)?, args.read::<f32>(1, 1)?[0]);
    let y = args.states_mut(2, n)?;
    workers.rows(
        n,
        GRAIN,
        y,
        #[inline(always)]
        |range, mut y| {
            let mut values = [0.0; BLOCK];
            for block in blocks(range.clone()) {
                let values = &mut values[..block.len()];
                x.load(block.start, values);
                values.iter_mut().for_each(|value| *value *= scale);
                y.store(block.start - range.start, values);
            }
        },
    );
    Ok(())
}

fn reciprocal(args: &mut Args<'_>, _: &Workers) -> Result<()> {
    let n = args.elements(1);
    let x = args.read::<f32>(0, n)?;
    let y = args.write::<f32>(1, n)?;
    y.iter_mut().zip(x).for_each(|(y, x)| *y = canonical(1.0 / x));
    Ok(())
}
