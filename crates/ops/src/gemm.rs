//! Matrix multiplication.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{ACTIVATIONS, expect};

/// Which operands of a product D [m, n] are stored transposed. The first letter is a's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// D = A Bᵀ: a [m, k], b [n, k]. A linear layer's output.
    Nt,
    /// D = A B: a [m, k], b [k, n]. The gradient of its input.
    Nn,
    /// D = Aᵀ B: a [k, m], b [k, n]. The gradient of its weight.
    Tn,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 3] = [Self::Nt, Self::Nn, Self::Tn];

    /// The kernel's argument `from_d`.
    fn bits(self) -> u32 {
        match self {
            Self::Nt => 0b00,
            Self::Nn => 0b10,
            Self::Tn => 0b11,
        }
    }
}

/// How the products of one output are summed.
///
/// K may be of any length for [`F32`](Self::F32) and [`Wgmma`](Self::Wgmma), a multiple of 16 for
/// cuBLASLt and of 128 for DeepGEMM. cuBLASLt multiplies no two matrices in E5M2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accumulate {
    /// One chain of fma in f32: what a CPU does.
    #[default]
    F32,
    /// One chain of Hopper's `wgmma`, which keeps 13 fraction bits of FP8 products.
    Wgmma,
    /// cuBLASLt on Hopper: a chain of `wgmma` for every 128 of k, summed in f32.
    Cublaslt,
    /// cuBLASLt on Hopper with fast accumulation: the chain of `wgmma`.
    CublasltFast,
    /// DeepGEMM on Hopper: a chain of `wgmma` for every 128 of k, summed in f32 by fma.
    Deepgemm,
}

impl Accumulate {
    /// Every model.
    pub const ALL: [Self; 5] =
        [Self::F32, Self::Wgmma, Self::Cublaslt, Self::CublasltFast, Self::Deepgemm];

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Wgmma => "wgmma",
            Self::Cublaslt => "cublaslt",
            Self::CublasltFast => "cublaslt-fast",
            Self::Deepgemm => "deepgemm",
        }
    }

    /// What k must be a multiple of.
    pub fn k_multiple(self) -> usize {
        match self {
            Self::F32 | Self::Wgmma => 1,
            Self::Cublaslt | Self::CublasltFast => 16,
            Self::Deepgemm => 128,
        }
    }

    /// An error unless it takes operands of these types and this k.
    fn check(self, operation: &'static str, a: &Tensor, b: &Tensor, k: usize) -> Result<()> {
        let multiple = self.k_multiple();
        expect::that(k.is_multiple_of(multiple), operation, "a", a, || {
            format!("a multiple of {multiple} long in k for {self:?}, not {k}")
        })?;
        let is_cublaslt = matches!(self, Self::Cublaslt | Self::CublasltFast);
        let both_e5m2 = [a, b].iter().all(|tensor| tensor.dtype() == DType::E5M2);
        expect::that(!(is_cublaslt && both_e5m2), operation, "b", b, || {
            format!("in e4m3 beside an `a` in e5m2 for {self:?}")
        })?;
        let is_half = matches!(a.dtype(), DType::F16 | DType::BF16);
        expect::that(self != Self::Deepgemm || !is_half, operation, "a", a, || {
            format!("in e4m3 or e5m2 for {self:?}")
        })
    }
}

/// An FP8 matrix, and what multiplies its codes.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The codes, E4M3 or E5M2, contiguous in k.
    pub values: &'a Tensor,
    /// The factor, or factors of blocks, in F32.
    pub scale_inv: &'a Tensor,
}

/// The product of two matrices, of type `out` and shape [m, n]: kernels `gemm_f32`, `gemm_wgmma`
/// and `gemm_cublaslt`.
///
/// The operands are F32, F16, BF16, E4M3 or E5M2, not necessarily the same, and `out` is F32 or
/// BF16; Hopper's models take two FP8 types, or two of F16 and BF16, for which all of them are one
/// chain of `wgmma`. A tensor of any rank is read as the matrix of its last dim. Each output is
/// summed by the model over k ascending from +0, and rounded once to `out`. [`matmul_onto`] starts
/// from another accumulator.
///
/// # Errors
/// If the operands disagree on k, if the model does not take their types or their k, or if a type
/// is none of those.
pub fn matmul(
    queue: &Queue,
    a: &Tensor,
    b: &Tensor,
    layout: Layout,
    accumulate: Accumulate,
    out: DType,
) -> Result<Tensor> {
    plain(queue, a, b, layout, accumulate, Start::Zero(out))
}

/// [`matmul`] onto `d` [m, n], F32 or BF16, which holds what each sum starts from, in every model
/// exactly.
///
/// # Errors
/// As [`matmul`], and if `d` has another shape.
pub fn matmul_onto(
    queue: &Queue,
    d: &Tensor,
    a: &Tensor,
    b: &Tensor,
    layout: Layout,
    accumulate: Accumulate,
) -> Result<()> {
    plain(queue, a, b, layout, accumulate, Start::From(d)).map(drop)
}

fn plain(
    queue: &Queue,
    a: &Tensor,
    b: &Tensor,
    layout: Layout,
    accumulate: Accumulate,
    start: Start<'_>,
) -> Result<Tensor> {
    let (m, k) = match layout {
        Layout::Nt | Layout::Nn => (a.rows(), a.cols()),
        Layout::Tn => (a.cols(), a.rows()),
    };
    let (n, k_of_b) = match layout {
        Layout::Nt => (b.rows(), b.cols()),
        Layout::Nn | Layout::Tn => (b.cols(), b.rows()),
    };
    expect::that(k == k_of_b, "matmul", "b", b, || format!("{k} long in k ({layout:?})"))?;
    accumulate.check("matmul", a, b, k)?;
    let kernel = match accumulate {
        Accumulate::F32 => "gemm_f32",
        Accumulate::Cublaslt | Accumulate::Deepgemm if a.dtype().bytes() == 1 => "gemm_cublaslt",
        _ => "gemm_wgmma",
    };
    let d = start.tensor(queue, "matmul", [m, n])?;
    let launch = Launch::new(kernel).read(a).read(b).update(&d).extent(m).extent(n).extent(k);
    queue.launch(launch.u32(layout.bits()).u32(start.bit()))?;
    Ok(d)
}

/// What the sums start from.
#[derive(Clone, Copy, Debug)]
enum Start<'a> {
    /// +0, to a new tensor of this type.
    Zero(DType),
    /// The elements of the tensor that the result goes to.
    From(&'a Tensor),
}

impl Start<'_> {
    /// Where the result goes.
    fn tensor(self, queue: &Queue, operation: &'static str, shape: [usize; 2]) -> Result<Tensor> {
        match self {
            Self::Zero(out) => queue.alloc(out, shape, ACTIVATIONS),
            Self::From(d) => expect::shape(operation, "d", d, shape).map(|()| d.clone()),
        }
    }

    /// The kernel's argument `from_d`.
    fn bit(self) -> u32 {
        u32::from(matches!(self, Self::From(_)))
    }
}

/// D = A Bᵀ of two FP8 matrices a [m, k] and b [n, k] with one scaling factor each, of type `out`
/// and shape [m, n]: kernels `gemm_scaled_f32`, `gemm_scaled_wgmma` and `gemm_scaled_cublaslt`.
///
/// The operands are E4M3 or E5M2, their `scale_inv` one F32 each, and `out` is F32 or BF16. Each
/// output is summed by the model over k ascending, times the rounded product of both factors,
/// rounded once to f32 and once more to `out`.
///
/// # Errors
/// If the operands disagree on k, if the model does not take their types or their k, if a scaling
/// factor is not one number, or if a type is none of those.
pub fn matmul_scaled(
    queue: &Queue,
    a: Operand<'_>,
    b: Operand<'_>,
    accumulate: Accumulate,
    out: DType,
) -> Result<Tensor> {
    scaled(queue, a, b, accumulate, Start::Zero(out))
}

/// [`matmul_scaled`] onto `d` [m, n], F32 or BF16, which holds what each sum starts from: it is
/// scaled with the products.
///
/// # Errors
/// As [`matmul_scaled`], and if `d` has another shape.
pub fn matmul_scaled_onto(
    queue: &Queue,
    d: &Tensor,
    a: Operand<'_>,
    b: Operand<'_>,
    accumulate: Accumulate,
) -> Result<()> {
    scaled(queue, a, b, accumulate, Start::From(d)).map(drop)
}

fn scaled(
    queue: &Queue,
    a: Operand<'_>,
    b: Operand<'_>,
    accumulate: Accumulate,
    start: Start<'_>,
) -> Result<Tensor> {
    let k = a.values.cols();
    expect::that(k == b.values.cols(), "matmul_scaled", "b", b.values, || format!("[n, {k}]"))?;
    expect::elements("matmul_scaled", "a_scale_inv", a.scale_inv, 1)?;
    expect::elements("matmul_scaled", "b_scale_inv", b.scale_inv, 1)?;
    accumulate.check("matmul_scaled", a.values, b.values, k)?;
    let kernel = match accumulate {
        Accumulate::F32 => "gemm_scaled_f32",
        Accumulate::Wgmma | Accumulate::CublasltFast => "gemm_scaled_wgmma",
        Accumulate::Cublaslt | Accumulate::Deepgemm => "gemm_scaled_cublaslt",
    };
    launch_scaled(queue, kernel, a, b, start, |launch| launch)
}

/// D = A Bᵀ of two FP8 matrices a [m, k] and b [n, k] with scaling factors of blocks, of type `out`
/// and shape [m, n]: kernels `gemm_block_f32` and `gemm_block_wgmma`.
///
/// The operands are E4M3 or E5M2, and `out` is F32 or BF16. a's `scale_inv` is F32 [m,
/// ceil(k / 128)], b's the same of n, or [ceil(n / 128), ceil(k / 128)]. Each output is a chain over
/// every 128 of k from +0, summed by fma(s, chain, acc) with s the rounded product of both factors,
/// and rounded once to `out`. Hopper's models all have the same chain.
///
/// # Errors
/// If the operands disagree on k, if the model does not take their types or their k, if the scaling
/// factors are not of those shapes, or if a type is none of those.
pub fn matmul_block_scaled(
    queue: &Queue,
    a: Operand<'_>,
    b: Operand<'_>,
    accumulate: Accumulate,
    out: DType,
) -> Result<Tensor> {
    block_scaled(queue, a, b, accumulate, Start::Zero(out))
}

/// [`matmul_block_scaled`] onto `d` [m, n], F32 or BF16, which holds what each sum of scaled chains
/// starts from.
///
/// # Errors
/// As [`matmul_block_scaled`], and if `d` has another shape.
pub fn matmul_block_scaled_onto(
    queue: &Queue,
    d: &Tensor,
    a: Operand<'_>,
    b: Operand<'_>,
    accumulate: Accumulate,
) -> Result<()> {
    block_scaled(queue, a, b, accumulate, Start::From(d)).map(drop)
}

fn block_scaled(
    queue: &Queue,
    a: Operand<'_>,
    b: Operand<'_>,
    accumulate: Accumulate,
    start: Start<'_>,
) -> Result<Tensor> {
    let operation = "matmul_block_scaled";
    let (m, n, k) = (a.values.rows(), b.values.rows(), a.values.cols());
    let (rows, blocks) = (n.div_ceil(BLOCK), k.div_ceil(BLOCK));
    expect::that(k == b.values.cols(), operation, "b", b.values, || format!("[n, {k}]"))?;
    expect::shape(operation, "a_scale_inv", a.scale_inv, [m, blocks])?;
    let is_of_blocks = b.scale_inv.shape() == [rows, blocks].into();
    let is_of_tiles = b.scale_inv.shape() == [n, blocks].into();
    expect::that(is_of_blocks || is_of_tiles, operation, "b_scale_inv", b.scale_inv, || {
        format!("[{rows}, {blocks}] or [{n}, {blocks}]")
    })?;
    accumulate.check(operation, a.values, b.values, k)?;
    let kernel = match accumulate {
        Accumulate::F32 => "gemm_block_f32",
        _ => "gemm_block_wgmma",
    };
    let b_vectors = if is_of_blocks { BLOCK } else { 1 };
    launch_scaled(queue, kernel, a, b, start, |launch| launch.extent(b_vectors))
}

fn launch_scaled(
    queue: &Queue,
    kernel: &'static str,
    a: Operand<'_>,
    b: Operand<'_>,
    start: Start<'_>,
    more: impl FnOnce(Launch) -> Launch,
) -> Result<Tensor> {
    let (m, n, k) = (a.values.rows(), b.values.rows(), a.values.cols());
    let d = start.tensor(queue, kernel, [m, n])?;
    let launch = Launch::new(kernel).read(a.values).read(a.scale_inv);
    let launch = launch.read(b.values).read(b.scale_inv).update(&d);
    let launch = more(launch.extent(m).extent(n).extent(k));
    queue.launch(launch.u32(start.bit()))?;
    Ok(d)
}

/// Elements of k, and rows of b, that share a scaling factor.
const BLOCK: usize = 128;
