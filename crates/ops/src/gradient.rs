//! Accumulation of gradients over micro-batches, and automatic scaling.

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::expect;

/// y += x, rounded once to f32: kernel `accumulate`. x is F32 or BF16, y F32 of its shape.
pub fn accumulate(queue: &Queue, x: &Tensor, y: &Tensor) -> Result<()> {
    expect::shape("accumulate", "y", y, x.shape())?;
    queue.launch(Launch::new("accumulate").read(x).update(y))
}

/// y += code * scale_inv `[1]`, product and sum rounded to f32: kernel `accumulate_dequantized`.
///
/// code is E4M3 or E5M2, y F32 of its shape.
pub fn accumulate_dequantized(
    queue: &Queue,
    code: &Tensor,
    scale_inv: &Tensor,
    y: &Tensor,
) -> Result<()> {
    let operation = "accumulate_dequantized";
    expect::elements(operation, "scale_inv", scale_inv, 1)?;
    expect::shape(operation, "y", y, code.shape())?;
    queue.launch(Launch::new(operation).read(code).read(scale_inv).update(y))
}

/// Adapts the head-room mu `[1]` (F32) of a gradient's scale: kernel `auto_scale`, the automatic
/// scaling of FP8-LM, section 2.1.
///
/// mu halves where more than 1e-5 of the elements overflowed, else it grows by a factor of 2^(1/1000). Nothing
/// changes where skip `[1]` (U32) is set.
pub fn auto_scale(
    queue: &Queue,
    saturation: &Saturation<'_>,
    skip: &Tensor,
    mu: &Tensor,
) -> Result<()> {
    let Saturation { counts, largest, elements, casts } = *saturation;
    expect::elements("auto_scale", "counts", counts, 2)?;
    expect::elements("auto_scale", "largest", largest, 1)?;
    expect::elements("auto_scale", "skip", skip, 1)?;
    expect::elements("auto_scale", "mu", mu, 1)?;
    let launch = Launch::new("auto_scale").read(counts).read(largest).read(skip).update(mu);
    queue.launch(launch.u64(elements).u64(casts))
}

/// How much of a gradient overflowed: on the ranks when they cast it, or in sums of their codes.
#[derive(Clone, Copy, Debug)]
pub struct Saturation<'a> {
    /// Of all ranks together, U64 `[2]`, the first as [`quantize`](crate::quantize) counts.
    pub counts: &'a Tensor,
    /// Codes of the sum that are the format's largest, U64 `[1]`; 0 where sums are not carried in FP8.
    pub largest: &'a Tensor,
    /// Elements that all ranks cast together, in all casts of the step.
    pub elements: u64,
    /// The casts, of all ranks together.
    pub casts: u64,
}
