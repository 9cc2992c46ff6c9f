//! Per-tensor quantisation: amax, scale, codes, and back.

use fp8lm_device::{DType, Element, Result};
use fp8lm_formats::{
    Fp8, Isa, Overflow,
    layout::{self, Layout},
};

use super::Twin;
use crate::{
    args::Args,
    elementwise,
    floats::{Floats, canonical},
    scale::{self, Rule},
    states::{GRAIN, blocks},
    tally::{CHUNK, Tally, overflows, underflows},
    transpose::transpose,
    workers::{PerGrain, Workers},
};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("amax", amax),
    ("scale_from_amax", scale_from_amax),
    ("push_amax", push_amax),
    ("quantize", quantize),
    ("quantize_transpose", quantize_transpose),
    ("dequantize", dequantize),
];

fn amax(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(0);
    let x = args.floats(0, n)?;
    let amax = args.write::<f32>(1, 1)?;
    let mut grains = vec![0.0; n.div_ceil(GRAIN)];
    workers.rows(
        n,
        GRAIN,
        PerGrain { values: grains.as_mut_slice(), grain: GRAIN },
        #[inline(always)]
        |range, grain| {
            let mut buffer = Vec::new();
            for block in blocks(range) {
                let values = x.read(block.start, block.len(), &mut buffer);
                grain.values[0] = scale::amax(grain.values[0], values);
            }
        },
    );
    amax[0] = scale::amax(0.0, &grains);
    Ok(())
}

fn scale_from_amax(args: &mut Args<'_>, _workers: &Workers) -> Result<()> {
    let amax = scale::amax(0.0, args.read(0, args.elements(0))?);
    let head = args.read::<f32>(1, 1)?[0];
    let (fp_max, rule) = (args.f32(4), Rule::of(args, 5)?);
    let (scale, scale_inv) = (args.write::<f32>(2, 1)?, args.write::<f32>(3, 1)?);
    scale[0] = canonical((head * rule.scale(amax, fp_max)).min(f32::MAX));
    scale_inv[0] = canonical(1.0 / scale[0]);
    Ok(())
}

fn push_amax(args: &mut Args<'_>, _workers: &Workers) -> Result<()> {
    let window = args.elements(1);
    if window == 0 {
        return Err(args.invalid(1, "at least one element".into(), "none".into()));
    }
    let amax = args.write::<f32>(0, 1)?;
    let history = args.write::<f32>(1, window)?;
    let count = args.write::<u32>(2, 1)?;
    history[count[0] as usize % window] = if amax[0].is_finite() { amax[0] } else { 0.0 };
    count[0] = count[0].wrapping_add(1);
    amax[0] = 0.0;
    Ok(())
}

fn quantize(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    match args.dtype(2) {
        DType::E5M2 => quantize_to::<layout::E5M2>(args, workers),
        _ => quantize_to::<layout::E4M3>(args, workers),
    }
}

fn quantize_to<L: Layout>(args: &mut Args<'_>, workers: &Workers) -> Result<()>
where
    Fp8<L>: Element,
{
    let n = args.elements(2);
    let (x, scale, code) = (args.floats(0, n)?, args.read(1, 1)?, args.write(2, n)?);
    let (amax, counts) = (args.write(3, 1)?, args.write(4, 2)?);
    encode::<L>(workers, x, scale[0], code).record(amax, counts);
    Ok(())
}

fn quantize_transpose(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    if args.dtype(3) != args.dtype(2) {
        return Err(args.invalid(3, args.dtype(2).to_string(), args.dtype(3).to_string()));
    }
    match args.dtype(2) {
        DType::E5M2 => quantize_both_ways::<layout::E5M2>(args, workers),
        _ => quantize_both_ways::<layout::E4M3>(args, workers),
    }
}

fn quantize_both_ways<L: Layout>(args: &mut Args<'_>, workers: &Workers) -> Result<()>
where
    Fp8<L>: Element,
{
    let (rows, cols) = (args.extent(6), args.extent(7));
    let n = rows * cols;
    let (x, scale, code) = (args.floats(0, n)?, args.read(1, 1)?, args.write(2, n)?);
    let code_t = args.write::<Fp8<L>>(3, n)?;
    let (amax, counts) = (args.write(4, 1)?, args.write(5, 2)?);
    encode::<L>(workers, x, scale[0], code).record(amax, counts);
    let code_t = bytemuck::cast_slice_mut::<_, u8>(code_t);
    transpose(workers, bytemuck::cast_slice(code), code_t, (rows, cols));
    Ok(())
}

fn encode<L: Layout>(workers: &Workers, x: Floats<'_>, scale: f32, code: &mut [Fp8<L>]) -> Tally {
    let (n, isa) = (code.len(), workers.isa());
    let mut tallies = vec![Tally::default(); n.div_ceil(GRAIN)];
    workers.rows(
        n,
        GRAIN,
        (code, PerGrain { values: tallies.as_mut_slice(), grain: GRAIN }),
        #[inline(always)]
        |range, (code, tally)| {
            let mut buffer = Vec::new();
            for (first, code) in range.step_by(CHUNK).zip(code.chunks_mut(CHUNK)) {
                let values = x.read(first, code.len(), &mut buffer);
                tally.values[0] = tally.values[0].and(encode_chunk(isa, values, scale, code));
            }
        },
    );
    tallies.into_iter().fold(Tally::default(), Tally::and)
}

#[inline(always)]
fn encode_chunk<L: Layout>(isa: Isa, values: &[f32], scale: f32, code: &mut [Fp8<L>]) -> Tally {
    let amax = scale::amax(0.0, values);
    Fp8::encode_slice_on(isa, values, scale, code, Overflow::Saturate);
    let fp_max = Fp8::<L>::MAX_F32;
    // Rounding is monotone: where the largest magnitude fits, all do.
    let fits = (amax * scale).abs() <= fp_max;
    let over = if fits { 0 } else { overflows(values, |x| x * scale, fp_max) };
    Tally { amax, over, under: underflows(values, code) }
}

fn dequantize(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(2);
    let (code, scale_inv) = (args.states(0, n)?, args.read::<f32>(1, 1)?[0]);
    elementwise::map(
        workers,
        n,
        code,
        args.states_mut(2, n)?,
        #[inline(always)]
        |code| code * scale_inv,
    );
    Ok(())
}
