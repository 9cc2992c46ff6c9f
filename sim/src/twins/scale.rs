//! Values stored under a scale that is given.

use fp8lm_device::Result;

use super::Twin;
use crate::{args::Args, elementwise, floats::canonical, workers::Workers};

pub(super) const TWINS: &[(&str, Twin)] =
    &[("scale", scale), ("reciprocal", reciprocal), ("rescale", rescale)];

fn scale(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(2);
    let (x, scale) = (args.states(0, n)?, args.read::<f32>(1, 1)?[0]);
    elementwise::map(
        workers,
        n,
        x,
        args.states_mut(2, n)?,
        #[inline(always)]
        |x| x * scale,
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

fn rescale(args: &mut Args<'_>, _: &Workers) -> Result<()> {
    let (n, ranks) = (args.elements(0), args.extent(3) as f32);
    let factor = args.read::<f32>(1, n)?;
    let (scale, scale_inv) = (args.write::<f32>(0, n)?, args.write::<f32>(2, n)?);
    for ((scale, factor), inverse) in scale.iter_mut().zip(factor).zip(scale_inv) {
        *scale = canonical((ranks * (*scale * factor).min(f32::MAX)).min(f32::MAX));
        *inverse = canonical(1.0 / *scale);
    }
    Ok(())
}
