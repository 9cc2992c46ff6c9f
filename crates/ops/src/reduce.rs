//! Canonical reductions: the order is fixed, so the bits are.

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::expect;

/// y `[1]` = the canonical sum of x: kernel `sum`. Both are F32.
pub fn sum(queue: &Queue, x: &Tensor, y: &Tensor) -> Result<()> {
    expect::elements("sum", "y", y, 1)?;
    queue.launch(Launch::new("sum").read(x).write(y))
}

/// y `[1]` = the canonical sum of the squares of x: kernel `sum_squares`.
///
/// x is F32 or BF16, y F32; each square is rounded to f32.
pub fn sum_squares(queue: &Queue, x: &Tensor, y: &Tensor) -> Result<()> {
    expect::elements("sum_squares", "y", y, 1)?;
    queue.launch(Launch::new("sum_squares").read(x).write(y))
}

/// y `[1]` = the canonical sum of the squares of code * scale_inv `[1]`: kernel
/// `sum_squares_dequantized`.
///
/// code is of any format of a gradient, F32 too, the others F32; each product and each square is rounded to f32.
pub fn sum_squares_dequantized(
    queue: &Queue,
    code: &Tensor,
    scale_inv: &Tensor,
    y: &Tensor,
) -> Result<()> {
    let operation = "sum_squares_dequantized";
    expect::elements(operation, "scale_inv", scale_inv, 1)?;
    expect::elements(operation, "y", y, 1)?;
    queue.launch(Launch::new(operation).read(code).read(scale_inv).write(y))
}

/// The global norm of gradients, and what an optimizer does about it: kernel `clip`.
///
/// norm `[1]` = the root of the canonical sum of `sums`; skip `[1]` (U32) = 1 where it or one of
/// `amaxes` is not finite, else 0; factor `[1]` = max_norm / norm where that is below 1 and nothing
/// is skipped, else 1. All but skip are F32.
pub fn clip(
    queue: &Queue,
    sums: &Tensor,
    amaxes: &Tensor,
    norm: &Tensor,
    factor: &Tensor,
    skip: &Tensor,
    max_norm: f32,
) -> Result<()> {
    for (name, tensor) in [("norm", norm), ("factor", factor), ("skip", skip)] {
        expect::elements("clip", name, tensor, 1)?;
    }
    let launch = Launch::new("clip").read(sums).read(amaxes).write(norm).write(factor);
    queue.launch(launch.write(skip).f32(max_norm))
}
