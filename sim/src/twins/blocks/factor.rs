//! The factor of a block: its rules, and its types.

use fp8lm_device::{DType, Result};
use fp8lm_formats::{E8M0, Fp8, Overflow, layout::Layout};

use super::SMALLEST;
use crate::{args::Args, workers::Workers};

/// How a factor follows from the largest finite magnitude, as launches number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// That over the format's maximum.
    Exact = 1,
    /// The same, rounded up to a power of two.
    Ue8m0,
    /// The power of two of the OCP's MX.
    Ocp,
    /// The magnitude over the format's maximum, rounded up to a power of two.
    Up,
}

impl Rule {
    /// The rule that argument `index` chooses, if it is one of `rules` and fits the type of the
    /// factors, argument `factors`.
    pub(super) fn of(
        args: &Args<'_>,
        index: usize,
        factors: usize,
        rules: [Self; 2],
    ) -> Result<Self> {
        let number = args.extent(index);
        let Some(rule) = rules.into_iter().find(|rule| *rule as usize == number) else {
            let expected = format!("{} or {}", rules[0] as usize, rules[1] as usize);
            return Err(args.invalid(index, expected, number.to_string()));
        };
        match args.dtype(factors) {
            DType::E8M0 if rule == Self::Exact => {
                Err(args.invalid(factors, "f32".into(), "e8m0".into()))
            }
            _ => Ok(rule),
        }
    }

    #[inline(always)]
    pub(super) fn factor<L: Layout>(self, largest: f32) -> f32 {
        match self {
            Self::Exact => largest.max(SMALLEST) / Fp8::<L>::MAX_F32,
            Self::Ue8m0 => Fp8::<L>::mx_scale_round_up(largest.max(SMALLEST)).to_f32(),
            Self::Ocp => Fp8::<L>::mx_scale_ocp(largest).to_f32(),
            Self::Up => Fp8::<L>::mx_scale_round_up(largest).to_f32(),
        }
    }
}

/// The magnitude of a finite value, as bits, which are ordered as magnitudes are; 0 of any other.
#[inline(always)]
pub(super) fn finite(value: f32) -> u32 {
    let magnitude = value.to_bits() & 0x7FFF_FFFF;
    if magnitude < INFINITY { magnitude } else { 0 }
}

/// Factors that are read.
pub(super) enum Factors<'a> {
    F32(&'a [f32]),
    E8M0(&'a [E8M0]),
}

impl<'a> Factors<'a> {
    pub(super) fn of(args: &Args<'a>, index: usize, count: usize) -> Result<Self> {
        Ok(match args.dtype(index) {
            DType::E8M0 => Self::E8M0(args.read(index, count)?),
            _ => Self::F32(args.read(index, count)?),
        })
    }

    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> f32 {
        match self {
            Self::F32(factors) => factors[index],
            Self::E8M0(factors) => factors[index].to_f32(),
        }
    }
}

/// Has `write` compute the factors, and keeps them in the type of argument `index`.
pub(super) fn write_factors(
    args: &mut Args<'_>,
    index: usize,
    count: usize,
    workers: &Workers,
    write: impl FnOnce(&mut [f32]),
) -> Result<()> {
    if args.dtype(index) == DType::F32 {
        write(args.write(index, count)?);
        return Ok(());
    }
    let codes = args.write::<E8M0>(index, count)?;
    let mut factors = workers.scratch(count);
    write(&mut factors);
    for (code, factor) in codes.iter_mut().zip(&*factors) {
        *code = E8M0::from_f32_zero(*factor, Overflow::Saturate);
    }
    Ok(())
}

pub(super) const INFINITY: u32 = 0x7F80_0000;
