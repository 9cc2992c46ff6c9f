//! Fills, conversions without a scale, transpositions, sums of two tensors.

use fp8lm_device::{DType, Element, Result};
use fp8lm_formats::{E4M3, E5M2};
use half::{bf16, f16};

use super::Twin;
use crate::{
    args::Args,
    elementwise,
    floats::canonical,
    states::Format,
    transpose::{Tiled, transpose as transpose_tiles},
    workers::Workers,
};

pub(super) const TWINS: &[(&str, Twin)] =
    &[("fill", fill), ("cast", cast), ("transpose", transpose), ("add", add)];

fn fill(args: &mut Args<'_>, _workers: &Workers) -> Result<()> {
    let value = args.f32(1);
    match args.dtype(0) {
        DType::BF16 => fill_with(args, bf16::narrow(value)),
        DType::F16 => fill_with(args, f16::narrow(value)),
        DType::E4M3 => fill_with(args, E4M3::narrow(value)),
        DType::E5M2 => fill_with(args, E5M2::narrow(value)),
        DType::F64 => fill_with(args, f64::from(canonical(value))),
        DType::U32 => fill_with(args, whole(args, value, 32)? as u32),
        DType::U64 => fill_with(args, whole(args, value, 64)?),
        _ => fill_with(args, f32::narrow(value)),
    }
}

fn fill_with<T: Element>(args: &mut Args<'_>, value: T) -> Result<()> {
    args.write(0, args.elements(0))?.fill(value);
    Ok(())
}

/// `value` as a count of `bits` bits.
fn whole(args: &Args<'_>, value: f32, bits: u32) -> Result<u64> {
    if value.fract() == 0.0 && value >= 0.0 && value < (1u128 << bits) as f32 {
        return Ok(value as u64);
    }
    Err(args.invalid(1, format!("a whole number below 2^{bits}"), value.to_string()))
}

fn cast(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(1);
    let (x, y) = (args.states(0, n)?, args.states_mut(1, n)?);
    elementwise::map(
        workers,
        n,
        x,
        y,
        #[inline(always)]
        |x| x,
    );
    Ok(())
}

fn transpose(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    match args.dtype(1) {
        DType::F32 => transpose_as::<f32, u32>(args, workers),
        DType::BF16 => transpose_as::<bf16, u16>(args, workers),
        DType::F16 => transpose_as::<f16, u16>(args, workers),
        DType::E4M3 => transpose_as::<E4M3, u8>(args, workers),
        DType::E5M2 => transpose_as::<E5M2, u8>(args, workers),
        _ => transpose_as::<u8, u8>(args, workers),
    }
}

/// Transposes elements of type `T` as the words `W` of their size.
fn transpose_as<T: Element, W: Tiled>(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(2), args.extent(3));
    if args.dtype(0) != T::DTYPE {
        return Err(args.invalid(0, T::DTYPE.to_string(), args.dtype(0).to_string()));
    }
    let (x, y) = (args.read::<T>(0, rows * cols)?, args.write::<T>(1, rows * cols)?);
    let (x, y) = (bytemuck::cast_slice::<T, W>(x), bytemuck::cast_slice_mut::<T, W>(y));
    transpose_tiles(workers, x, y, (rows, cols));
    Ok(())
}

fn add(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(2);
    let (a, b, y) = (args.states(0, n)?, args.states(1, n)?, args.states_mut(2, n)?);
    elementwise::zip(
        workers,
        n,
        (a, b),
        y,
        #[inline(always)]
        |a, b| a + b,
    );
    Ok(())
}
