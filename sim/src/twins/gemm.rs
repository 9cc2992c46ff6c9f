//! Matrix multiplication.

use fp8lm_device::{DType, Result};

use self::{
    blocking::Gemm,
    chain::{Chain, Fma},
    fp8::Fp8,
    operand::{Operand, Stored},
    promoted::{Promoted, Scales},
    tensor_core::TensorCore,
};
use super::Twin;
use crate::{args::Args, floats::FloatsMut, mma::PROMOTION, workers::Workers};

mod blocking;
mod chain;
mod fp8;
mod operand;
mod promoted;
mod tensor_core;

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("gemm_f32", |args, workers| gemm(args, workers, Model::F32)),
    ("gemm_wgmma", |args, workers| gemm(args, workers, Model::Wgmma)),
    ("gemm_cublaslt", |args, workers| gemm(args, workers, Model::Cublaslt)),
    ("gemm_scaled_f32", |args, workers| gemm_scaled(args, workers, Model::F32)),
    ("gemm_scaled_wgmma", |args, workers| gemm_scaled(args, workers, Model::Wgmma)),
    ("gemm_scaled_cublaslt", |args, workers| gemm_scaled(args, workers, Model::Cublaslt)),
    ("gemm_block_f32", |args, workers| gemm_block(args, workers, Fma)),
    ("gemm_block_wgmma", |args, workers| gemm_block(args, workers, Fp8::new(workers.isa()))),
];

/// How products are summed over all of k.
enum Model {
    /// One chain of fma.
    F32,
    /// One chain of a tensor core.
    Wgmma,
    /// Chains of a tensor core, summed in f32.
    Cublaslt,
}

fn gemm(args: &mut Args<'_>, workers: &Workers, model: Model) -> Result<()> {
    let [m, n, k, layout] = [3, 4, 5, 6].map(|index| args.extent(index));
    if layout > 3 {
        return Err(args.invalid(6, "a layout of two bits".to_owned(), layout.to_string()));
    }
    let bytes = args.dtype(0).bytes();
    if !matches!(model, Model::F32) && args.dtype(1).bytes() != bytes {
        let expected = format!("a type of {bytes} bytes, as a's");
        return Err(args.invalid(1, expected, args.dtype(1).to_string()));
    }
    let a = operand(args, 0, m, k, layout & 1 != 0)?;
    let b = operand(args, 1, n, k, layout & 2 != 0)?;
    let d = args.floats_mut(2, m * n)?;
    let gemm = Gemm { a, b, m, n, k, alpha: 1.0 };
    match (model, bytes) {
        (Model::Wgmma, 2) => gemm.run(workers, d, TensorCore::<f64>::new()),
        (model, _) => run(&gemm, workers, d, model),
    }
    Ok(())
}

fn gemm_scaled(args: &mut Args<'_>, workers: &Workers, model: Model) -> Result<()> {
    let [m, n, k] = [5, 6, 7].map(|index| args.extent(index));
    let a = operand(args, 0, m, k, false)?;
    let b = operand(args, 2, n, k, false)?;
    let alpha = args.read::<f32>(1, 1)?[0] * args.read::<f32>(3, 1)?[0];
    let d = args.floats_mut(4, m * n)?;
    run(&Gemm { a, b, m, n, k, alpha }, workers, d, model);
    Ok(())
}

/// The product of FP8 operands, and of any others in the model of f32.
fn run(gemm: &Gemm<'_>, workers: &Workers, d: FloatsMut<'_>, model: Model) {
    let chain = Fp8::new(workers.isa());
    match model {
        Model::F32 => gemm.run(workers, d, Fma),
        Model::Wgmma => gemm.run(workers, d, chain),
        Model::Cublaslt => gemm.run(workers, d, Promoted { chain, scales: None }),
    }
}

fn gemm_block(args: &mut Args<'_>, workers: &Workers, chain: impl Chain) -> Result<()> {
    let [m, n, k, b_vectors] = [5, 6, 7, 8].map(|index| args.extent(index));
    if ![1, PROMOTION].contains(&b_vectors) {
        return Err(args.invalid(8, format!("1 or {PROMOTION}"), b_vectors.to_string()));
    }
    let a = operand(args, 0, m, k, false)?;
    let b = operand(args, 2, n, k, false)?;
    let blocks = k.div_ceil(PROMOTION);
    let scales = Scales {
        a: args.read(1, m * blocks)?,
        b: args.read(3, n.div_ceil(b_vectors) * blocks)?,
        b_vectors,
        blocks,
    };
    let d = args.floats_mut(4, m * n)?;
    let chain = Promoted { chain, scales: Some(scales) };
    Gemm { a, b, m, n, k, alpha: 1.0 }.run(workers, d, chain);
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
        DType::F16 => Stored::F16(args.read(index, rows * k)?),
        DType::BF16 => Stored::BF16(args.read(index, rows * k)?),
        DType::E4M3 => Stored::E4M3(args.read(index, rows * k)?),
        DType::E5M2 => Stored::E5M2(args.read(index, rows * k)?),
        _ => Stored::F32(args.read(index, rows * k)?),
    };
    Ok(if transposed { Operand::k_first(stored, rows) } else { Operand::k_last(stored, k) })
}
