//! Values stored under a scale that is given.

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::expect;

/// y = RN(x * scale), rounded to y's type, FP8 saturating: kernel `scale`. `x` is F32 or BF16,
/// `scale` F32 `[1]`, `y` of x's shape and of any type that a state may have.
pub fn scale_into(queue: &Queue, x: &Tensor, scale: &Tensor, y: &Tensor) -> Result<()> {
    expect::shape("scale_into", "y", y, x.shape())?;
    expect::elements("scale_into", "scale", scale, 1)?;
    queue.launch(Launch::new("scale").read(x).read(scale).write(y))
}

/// y = RN(1 / x), both F32 of one shape: kernel `reciprocal`.
pub fn reciprocal(queue: &Queue, x: &Tensor, y: &Tensor) -> Result<()> {
    expect::shape("reciprocal", "y", y, x.shape())?;
    queue.launch(Launch::new("reciprocal").read(x).write(y))
}

/// The scale of a sum over `ranks` whose codes were multiplied by factor once more: scale = RN(ranks * RN(scale *
/// factor)), and scale_inv = RN(1 / scale): kernel `rescale`. All are F32 of one shape.
pub fn rescale(
    queue: &Queue,
    scale: &Tensor,
    factor: &Tensor,
    scale_inv: &Tensor,
    ranks: usize,
) -> Result<()> {
    expect::shape("rescale", "factor", factor, scale.shape())?;
    expect::shape("rescale", "scale_inv", scale_inv, scale.shape())?;
    queue.launch(Launch::new("rescale").update(scale).read(factor).write(scale_inv).extent(ranks))
}
