//! Matrix multiplication.

use fp8lm_device::{DType, Result};

use self::{
    blocking::Gemm,
    chain::fma,
    operand::{Operand, Stored},
};
use super::Twin;
use crate::{args::Args, workers::Workers};

mod blocking;
mod chain;
mod operand;

pub(super) const TWINS: &[(&str, Twin)] = &[("gemm_f32", gemm), ("gemm_scaled_f32", gemm_scaled)];

fn gemm(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let [m, n, k, layout] = [3, 4, 5, 6].map(|index| args.extent(index));
    if layout > 3 {
        return Err(args.invalid(6, "a layout of two bits".to_owned(), layout.to_string()));
    }
    let a = operand(args, 0, m, k, layout & 1 != 0)?;
    let b = operand(args, 1, n, k, layout & 2 != 0)?;
    let d = args.floats_mut(2, m * n)?;
    Gemm { a, b, m, n, k, alpha: 1.0 }.run(workers, d, fma);
    Ok(())
}

fn gemm_scaled(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let [m, n, k] = [5, 6, 7].map(|index| args.extent(index));
    let a = operand(args, 0, m, k, false)?;
    let b = operand(args, 2, n, k, false)?;
    let alpha = args.read::<f32>(1, 1)?[0] * args.read::<f32>(3, 1)?[0];
    let d = args.floats_mut(4, m * n)?;
    Gemm { a, b, m, n, k, alpha }.run(workers, d, fma);
    Ok(())
}

/// Argument `index`: `rows` vectors of length `k`, or stored [k, rows].
fn operand<'a>(
    args: &Args<'a>,
    index: usize,
    rows: usize,
    k: usize,
    transposed: bool,
) -> Result<Operand<'a>> {
    let stored = match args.dtype(index) {
        DType::BF16 => Stored::BF16(args.read(index, rows * k)?),
        DType::E4M3 => Stored::E4M3(args.read(index, rows * k)?),
        DType::E5M2 => Stored::E5M2(args.read(index, rows * k)?),
        _ => Stored::F32(args.read(index, rows * k)?),
    };
    Ok(if transposed { Operand::k_first(stored, rows) } else { Operand::k_last(stored, k) })
}
