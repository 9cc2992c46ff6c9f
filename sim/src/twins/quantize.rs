//! Per-tensor quantisation: amax, scale, codes, and back.

use fp8lm_device::{DType, Element, Result};
use fp8lm_formats::{
    Fp8,
    layout::{self, Layout},
};

use super::Twin;
use crate::{
    args::Args,
    elementwise,
    floats::{Floats, canonical},
    scale::{self, Rule},
    states::{BLOCK, GRAIN, blocks},
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
            let mut values = [0.0; BLOCK];
            for block in blocks(range) {
                let values = &mut values[..block.len()];
                x.load(block.start, values);
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
    let n = code.len();
    let mut tallies = vec![Tally::default(); n.div_ceil(GRAIN)];
    workers.rows(
        n,
        GRAIN,
        (code, PerGrain { values: tallies.as_mut_slice(), grain: GRAIN }),
        #[inline(always)]
        |range, (code, tally)| {
            let mut values = [0.0; BLOCK];
            for (block, code) in blocks(range).zip(code.chunks_mut(BLOCK)) {
                let values = &mut values[..block.len()];
                x.load(block.start, values);
                tally.values[0] = tally.values[0].and(encode_block(values, scale, code));
            }
        },
    );
    tallies.into_iter().fold(Tally::default(), Tally::and)
}

#[inline(always)]
fn encode_block<L: Layout>(values: &[f32], scale: f32, code: &mut [Fp8<L>]) -> Tally {
    let (mut over, mut under) = (0u32, 0u32);
    for (code, value) in code.iter_mut().zip(values) {
        let scaled = value * scale;
        *code = Fp8::from_f32_saturating(scaled);
        over += u32::from(scaled.abs() > Fp8::<L>::MAX_F32);
        under += u32::from(*value != 0.0 && code.to_bits() & 0x7F == 0);
    }
    Tally { amax: scale::amax(0.0, values), over: over.into(), under: under.into() }
}

/// What quantisation tells of a tensor.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) amax: f32,
    /// Elements above the format's maximum before the cast.
    pub(super) over: u64,
    /// Elements other than 0 before the cast and 0 after it.
    pub(super) under: u64,
}

impl Tally {
    #[inline(always)]
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            amax: self.amax.max(other.amax),
            over: self.over + other.over,
            under: self.under + other.under,
        }
    }

    pub(super) fn record(self, amax: &mut [f32], counts: &mut [u64]) {
        amax[0] = scale::amax(self.amax, amax);
        counts[0] += self.over;
        counts[1] += self.under;
    }
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
