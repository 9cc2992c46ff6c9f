//! Matrix multiplication.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};

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

    /// The kernel's argument.
    fn bits(self) -> u32 {
        match self {
            Self::Nt => 0b00,
            Self::Nn => 0b10,
            Self::Tn => 0b11,
        }
    }
}

/// The product of two matrices, of type `out` and shape [m, n]: kernel `gemm_f32`.
///
/// The operands are F32, BF16, E4M3 or E5M2, not necessarily the same, and `out` is F32 or BF16.
/// A tensor of any rank is read as the matrix of its last dim. Each output is one chain of fma in
/// f32 over k ascending, rounded once to `out`.
///
/// # Errors
/// If the operands disagree on k, or if a type is none of those.
pub fn matmul(queue: &Queue, a: &Tensor, b: &Tensor, layout: Layout, out: DType) -> Result<Tensor> {
    let (m, k) = match layout {
        Layout::Nt | Layout::Nn => (a.rows(), a.cols()),
        Layout::Tn => (a.cols(), a.rows()),
    };
    let (n, k_of_b) = match layout {
        Layout::Nt => (b.rows(), b.cols()),
        Layout::Nn | Layout::Tn => (b.cols(), b.rows()),
    };
    expect::that(k == k_of_b, "matmul", "b", b, || format!("{k} long in k ({layout:?})"))?;
    let d = queue.alloc(out, [m, n], ACTIVATIONS)?;
    let launch = Launch::new("gemm_f32").read(a).read(b).write(&d);
    queue.launch(launch.extent(m).extent(n).extent(k).u32(layout.bits()))?;
    Ok(d)
}

/// D = A Bᵀ of two FP8 matrices a [m, k] and b [n, k] with one scaling factor each, of type `out`
/// and shape [m, n]: kernel `gemm_scaled_f32`.
///
/// The operands are E4M3 or E5M2, `a_scale_inv` and `b_scale_inv` one F32 each, and `out` is F32 or
/// BF16. Each output is one chain of fma in f32 over k ascending, times the rounded product of both
/// factors, rounded once to f32 and once more to `out`.
///
/// # Errors
/// If the operands disagree on k, if a scaling factor is not one number, or if a type is none of
/// those.
pub fn matmul_scaled(
    queue: &Queue,
    a: &Tensor,
    a_scale_inv: &Tensor,
    b: &Tensor,
    b_scale_inv: &Tensor,
    out: DType,
) -> Result<Tensor> {
    let (m, n, k) = (a.rows(), b.rows(), a.cols());
    expect::that(k == b.cols(), "matmul_scaled", "b", b, || format!("[n, {k}]"))?;
    expect::elements("matmul_scaled", "a_scale_inv", a_scale_inv, 1)?;
    expect::elements("matmul_scaled", "b_scale_inv", b_scale_inv, 1)?;
    let d = queue.alloc(out, [m, n], ACTIVATIONS)?;
    let launch = Launch::new("gemm_scaled_f32").read(a).read(a_scale_inv).read(b);
    let launch = launch.read(b_scale_inv).write(&d);
    queue.launch(launch.extent(m).extent(n).extent(k))?;
    Ok(d)
}
