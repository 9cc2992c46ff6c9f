//! Quantisation that rounds up or down at random.

use fp8lm_device::{DType, Element, Result};
use fp8lm_formats::{
    Fp8, Overflow,
    layout::{self, Layout},
    philox::StochasticStream,
};

use super::Twin;
use crate::{
    args::Args,
    scale::amax,
    states::{Aligned, GRAIN},
    workers::{PerGrain, Workers},
};

pub(super) const TWINS: &[(&str, Twin)] = &[("quantize_stochastic", quantize_stochastic)];

fn quantize_stochastic(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
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
    let (x, scale) = (args.floats(0, n)?, args.read::<f32>(1, 1)?[0]);
    let (seed, tensor, draw) = (args.u64(5), args.extent(6) as u32, args.extent(7) as u32);
    let (noise, start) = (StochasticStream { seed, tensor, draw }, args.u64(8));
    let (code, largest) = (args.write::<Fp8<L>>(2, n)?, args.write::<f32>(3, 1)?);
    let counts = args.write::<u64>(4, 2)?;
    let mut grains = vec![Counts::default(); n.div_ceil(GRAIN)];
    workers.rows(
        n,
        GRAIN,
        (code, PerGrain { values: grains.as_mut_slice(), grain: GRAIN }),
        #[inline(always)]
        |range, (code, grain)| {
            let (mut values, mut words) = (Aligned::<BLOCK>::default(), [0; BLOCK]);
            for (first, code) in range.step_by(BLOCK).zip(code.chunks_mut(BLOCK)) {
                let values = &mut values.0[..code.len()];
                let words = &mut words[..code.len()];
                x.load(first, values);
                noise.fill(start.wrapping_add(first as u64), words);
                grain.values[0].add(values, scale, words, code);
            }
        },
    );
    for grain in grains {
        largest[0] = amax(grain.amax, largest);
        counts[0] += grain.over;
        counts[1] += grain.under;
    }
    Ok(())
}

/// What is told of the values that went through.
#[derive(Clone, Copy, Default)]
struct Counts {
    amax: f32,
    over: u64,
    under: u64,
}

impl Counts {
    #[inline(always)]
    fn add<L: Layout>(&mut self, values: &[f32], scale: f32, words: &[u32], code: &mut [Fp8<L>]) {
        let (mut over, mut under) = (0u32, 0u32);
        for ((code, value), word) in code.iter_mut().zip(values).zip(words) {
            let scaled = value * scale;
            *code = Fp8::from_f32_stochastic(scaled, *word, Overflow::Saturate);
            over += u32::from(scaled.abs() > Fp8::<L>::MAX_F32);
            under += u32::from(*value != 0.0 && code.to_bits() & 0x7F == 0);
        }
        self.amax = amax(self.amax, values);
        self.over += u64::from(over);
        self.under += u64::from(under);
    }
}

/// Elements rounded at a time.
const BLOCK: usize = 128;
