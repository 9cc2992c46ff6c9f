//! What collectives compute: values of several ranks reduced, with one rounding or with one at each hop, and counts.

use fp8lm_device::{DType, Result};
use fp8lm_formats::{E4M3, E5M2};

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::Twin;
use crate::{
    args::Args,
    elementwise, scale,
    states::{Aligned, BLOCK, GRAIN, Slice, States, blocks},
    workers::{PerGrain, Workers},
};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("reduce_ranks", reduce_ranks),
    ("amax_ranks", amax_ranks),
    ("combine", combine),
    ("sum_counts", sum_counts),
    ("count_largest", count_largest),
];

fn reduce_ranks(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (op, ranks, n) = (Operation::of(args, 4)?, some_ranks(args, 3)?, args.elements(2));
    let code = args.states(0, ranks.saturating_mul(n))?;
    let scale = args.read::<f32>(1, 1)?[0];
    workers.rows(
        n,
        GRAIN,
        args.states_mut(2, n)?,
        #[inline(always)]
        |range, mut y| {
            let mut sums = Aligned::<BLOCK>::default();
            for block in blocks(range.clone()) {
                let sums = &mut sums.0[..block.len()];
                reduce(op, code, (n, ranks), block.start, sums);
                sums.iter_mut().for_each(|sum| *sum *= scale);
                y.store(block.start - range.start, sums);
            }
        },
    );
    Ok(())
}

fn amax_ranks(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (op, ranks) = (Operation::of(args, 3)?, some_ranks(args, 2)?);
    let n = args.elements(0) / ranks;
    let (code, amax) = (args.states(0, ranks * n)?, args.write::<f32>(1, 1)?);
    let mut grains = vec![0.0; n.div_ceil(GRAIN).max(1)];
    workers.rows(
        n,
        GRAIN,
        PerGrain { values: grains.as_mut_slice(), grain: GRAIN },
        #[inline(always)]
        |range, grain| {
            let mut sums = Aligned::<BLOCK>::default();
            for block in blocks(range) {
                let sums = &mut sums.0[..block.len()];
                reduce(op, code, (n, ranks), block.start, sums);
                grain.values[0] = scale::amax(grain.values[0], sums);
            }
        },
    );
    amax[0] = scale::amax(scale::amax(0.0, &grains), amax);
    Ok(())
}

/// The elements from `first` on, over the rows of `n` codes that ranks hold.
#[inline(always)]
fn reduce(
    op: Operation,
    code: States<'_>,
    (n, ranks): (usize, usize),
    first: usize,
    y: &mut [f32],
) {
    let wide = sum_wide(op, code, (n, ranks), first, y);
    let (first, y) = (first + wide, &mut y[wide..]);
    let mut terms = Aligned::<BLOCK>::default();
    let terms = &mut terms.0[..y.len()];
    y.fill(op.start());
    for rank in 0..ranks {
        code.load(rank * n + first, terms);
        y.iter_mut().zip(&*terms).for_each(|(y, term)| *y = op.combine(*y, *term));
    }
}

/// Sums as many elements as the instructions of AVX-512 take, if there are any.
#[inline(always)]
fn sum_wide(
    op: Operation,
    code: States<'_>,
    rows: (usize, usize),
    first: usize,
    y: &mut [f32],
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if op == Operation::Sum && code.isa.has_avx512() {
        let (groups, _) = y.as_chunks_mut();
        // SAFETY: the features were found when the instruction set was made.
        unsafe {
            match code.slice {
                Slice::E4M3(codes) => avx512::sum(codes, rows, first, groups),
                Slice::E5M2(codes) => avx512::sum(codes, rows, first, groups),
                _ => return 0,
            }
        }
        return groups.len() * avx512::WIDTH;
    }
    0
}

fn some_ranks(args: &Args<'_>, index: usize) -> Result<usize> {
    match args.extent(index) {
        0 => Err(args.invalid(index, "at least 1".into(), "0".into())),
        ranks => Ok(ranks),
    }
}

fn combine(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let op = Operation::of(args, 3)?;
    for index in [0, 1] {
        if args.dtype(index) != args.dtype(2) {
            let [want, got] = [2, index].map(|index| args.dtype(index).to_string());
            return Err(args.invalid(index, want, got));
        }
    }
    let n = args.elements(2);
    let (a, b) = (args.states(0, n)?, args.states(1, n)?);
    elementwise::zip(
        workers,
        n,
        (a, b),
        args.states_mut(2, n)?,
        #[inline(always)]
        |a, b| op.combine(a, b),
    );
    Ok(())
}

fn sum_counts(args: &mut Args<'_>, _workers: &Workers) -> Result<()> {
    let (ranks, n) = (args.extent(2), args.elements(1));
    let x = args.read::<u64>(0, ranks.saturating_mul(n))?;
    let y = args.write::<u64>(1, n)?;
    y.fill(0);
    for counts in x.chunks_exact(n.max(1)) {
        y.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.wrapping_add(*count));
    }
    Ok(())
}

fn count_largest(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(0);
    let (codes, largest): (&[u8], u8) = match args.dtype(0) {
        DType::E5M2 => (bytemuck::cast_slice(args.read::<E5M2>(0, n)?), E5M2_LARGEST),
        _ => (bytemuck::cast_slice(args.read::<E4M3>(0, n)?), E4M3_LARGEST),
    };
    let count = args.write::<u64>(1, 1)?;
    let mut grains = vec![0u64; n.div_ceil(GRAIN).max(1)];
    workers.rows(
        n,
        GRAIN,
        PerGrain { values: grains.as_mut_slice(), grain: GRAIN },
        #[inline(always)]
        |range, count| {
            let found = codes[range].iter().map(|code| u32::from(code & 0x7F == largest));
            count.values[0] = found.sum::<u32>().into();
        },
    );
    count[0] = count[0].wrapping_add(grains.iter().sum());
    Ok(())
}

/// The code of 448.
const E4M3_LARGEST: u8 = 0x7E;
/// The code of 57,344.
const E5M2_LARGEST: u8 = 0x7B;

/// How launches number reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Sum,
    Product,
    Minimum,
    Maximum,
}

impl Operation {
    fn of(args: &Args<'_>, index: usize) -> Result<Self> {
        match args.extent(index) {
            0 => Ok(Self::Sum),
            1 => Ok(Self::Product),
            2 => Ok(Self::Minimum),
            3 => Ok(Self::Maximum),
            other => Err(args.invalid(index, "0, 1, 2 or 3".into(), other.to_string())),
        }
    }

    /// What leaves the first operand as it is: a number loses to none, NaN to each.
    #[inline(always)]
    fn start(self) -> f32 {
        match self {
            Self::Sum => 0.0,
            Self::Product => 1.0,
            Self::Minimum | Self::Maximum => f32::NAN,
        }
    }

    #[inline(always)]
    fn combine(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Sum => a + b,
            Self::Product => a * b,
            Self::Minimum => extreme(a, b, false),
            Self::Maximum => extreme(a, b, true),
        }
    }
}

#[inline(always)]
fn extreme(a: f32, b: f32, largest: bool) -> f32 {
    let below = place(a) < place(b);
    let number = if below == largest { b } else { a };
    let number = if b.is_nan() { a } else { number };
    if a.is_nan() { b } else { number }
}

/// Orders numbers as integers, -0 below +0.
#[inline(always)]
fn place(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) & 0x7FFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_order_zeros_and_pass_over_nan() {
        let bits = |op: Operation, a: f32, b: f32| op.combine(a, b).to_bits();
        for (a, b) in [(0.0, -0.0), (-0.0, 0.0)] {
            assert_eq!(bits(Operation::Minimum, a, b), (-0f32).to_bits());
            assert_eq!(bits(Operation::Maximum, a, b), 0f32.to_bits());
        }
        for op in [Operation::Minimum, Operation::Maximum] {
            assert_eq!(bits(op, f32::NAN, -3.0), (-3f32).to_bits());
            assert_eq!(bits(op, -3.0, f32::NAN), (-3f32).to_bits());
            assert!(op.combine(f32::NAN, f32::NAN).is_nan());
        }
        assert_eq!(Operation::Minimum.combine(-3.0, 2.0), -3.0);
        assert_eq!(Operation::Maximum.combine(-3.0, -2.0), -2.0);
    }
}
