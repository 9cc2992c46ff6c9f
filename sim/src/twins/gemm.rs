//! Matrix multiplication.

use fp8lm_device::{DType, Result};

#[cfg(target_arch = "x86_64")]
use self::avx512::{Pairs, Wide};
use self::{
    blocking::Gemm,
    chain::{Chain, Fma},
    fp8::Fp8,
    halves::Halves,
    operand::{Operand, Stored},
    promoted::{Promoted, Scales},
};
use super::Twin;
use crate::{args::Args, floats::FloatsMut, mma::PROMOTION, workers::Workers};

#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocking;
mod chain;
mod fp8;
mod halves;
mod operand;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod promoted;

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("gemm_f32", |args, workers| gemm(args, workers, Model::F32)),
    ("gemm_wgmma", |args, workers| gemm(args, workers, Model::Wgmma)),
    ("gemm_cublaslt", |args, workers| gemm(args, workers, Model::Cublaslt)),
    ("gemm_scaled_f32", |args, workers| gemm_scaled(args, workers, Model::F32)),
    ("gemm_scaled_wgmma", |args, workers| gemm_scaled(args, workers, Model::Wgmma)),
    ("gemm_scaled_cublaslt", |args, workers| gemm_scaled(args, workers, Model::Cublaslt)),
    ("gemm_block_f32", |args, workers| gemm_block(args, workers, Model::F32)),
    ("gemm_block_wgmma", |args, workers| gemm_block(args, workers, Model::Wgmma)),
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
    let from_d = from_d(args, 7)?;
    let d = args.floats_mut(2, m * n)?;
    run(&Gemm { a, b, m, n, k, alpha: 1.0, from_d }, workers, d, model);
    Ok(())
}

fn gemm_scaled(args: &mut Args<'_>, workers: &Workers, model: Model) -> Result<()> {
    let [m, n, k] = [5, 6, 7].map(|index| args.extent(index));
    let a = operand(args, 0, m, k, false)?;
    let b = operand(args, 2, n, k, false)?;
    let alpha = args.read::<f32>(1, 1)?[0] * args.read::<f32>(3, 1)?[0];
    let from_d = from_d(args, 8)?;
    let d = args.floats_mut(4, m * n)?;
    run(&Gemm { a, b, m, n, k, alpha, from_d }, workers, d, model);
    Ok(())
}

fn gemm_block(args: &mut Args<'_>, workers: &Workers, model: Model) -> Result<()> {
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
    let from_d = from_d(args, 9)?;
    let d = args.floats_mut(4, m * n)?;
    let launch = Launch { gemm: &Gemm { a, b, m, n, k, alpha: 1.0, from_d }, workers, d };
    let sum = Sum::Promoted(Some(scales));
    match model {
        Model::F32 => launch.f32(sum),
        _ => launch.tensor_core(sum),
    }
    Ok(())
}

/// The product with no factors inside the sum.
fn run(gemm: &Gemm<'_>, workers: &Workers, d: FloatsMut<'_>, model: Model) {
    let launch = Launch { gemm, workers, d };
    match model {
        Model::F32 => launch.f32(Sum::Chain),
        Model::Wgmma => launch.tensor_core(Sum::Chain),
        Model::Cublaslt => launch.tensor_core(Sum::Promoted(None)),
    }
}

/// What is made of the chains.
enum Sum<'a> {
    /// One chain is the sum.
    Chain,
    /// A chain for every 128 of k is added to a sum in f32.
    Promoted(Option<Scales<'a>>),
}

/// A product, and where it goes.
struct Launch<'a> {
    gemm: &'a Gemm<'a>,
    workers: &'a Workers,
    d: FloatsMut<'a>,
}

impl Launch<'_> {
    /// With chains of fma.
    fn f32(self, sum: Sum<'_>) {
        // What pairs would take for zero.
        #[cfg(target_arch = "x86_64")]
        let is_tiny = self.gemm.from_d
            && matches!(sum, Sum::Chain)
            && self.d.as_floats().any(|c| c.is_subnormal());
        #[cfg(target_arch = "x86_64")]
        if self.gemm.a.is_fp8()
            && self.gemm.b.is_fp8()
            && !is_tiny
            && let Some(pairs) = Pairs::new(self.workers.isa())
        {
            return self.run(pairs, sum);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = Wide::new(self.workers.isa()) {
            return self.run(wide, sum);
        }
        self.run(Fma, sum);
    }

    /// With chains of a tensor core.
    fn tensor_core(self, sum: Sum<'_>) {
        if self.gemm.a.is_fp8() {
            let chain = Fp8::new(self.workers.isa());
            self.run(chain, sum);
        } else {
            let chain = Halves::new(self.workers.isa());
            self.run(chain, sum);
        }
    }

    fn run(self, chain: impl Chain, sum: Sum<'_>) {
        match sum {
            Sum::Chain => self.gemm.run(self.workers, self.d, chain),
            Sum::Promoted(scales) => {
                self.gemm.run(self.workers, self.d, Promoted { chain, scales });
            }
        }
    }
}

/// Argument `index`: whether sums start from d.
fn from_d(args: &Args<'_>, index: usize) -> Result<bool> {
    match args.extent(index) {
        choice @ (0 | 1) => Ok(choice == 1),
        other => Err(args.invalid(index, "0 or 1".to_owned(), other.to_string())),
    }
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
