//! Quantisation in groups whose range is expanded (COAT, arXiv 2410.19313).

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::{ScaleRule, expect};

/// Elements of a group, in storage order; the last group may have fewer.
pub const GROUP: usize = 128;

/// code = x in groups of [`GROUP`], each raised to the power that gives it the range of code's
/// type, and scale `[groups, 2]` = what each group's largest magnitude was and the power: kernel
/// `quantize_groups`.
///
/// x is F32 or BF16, code E4M3 or E5M2 of x's shape, scale F32. Of a group whose largest magnitude
/// is 0 or not finite the values are cast as they are.
pub fn quantize_groups(queue: &Queue, x: &Tensor, code: &Tensor, scale: &Tensor) -> Result<()> {
    let operation = "quantize_groups";
    expect::shape(operation, "code", code, x.shape())?;
    expect::shape(operation, "scale", scale, ScaleRule::Expand.scale_shape(x.elements()))?;
    queue.launch(Launch::new(operation).read(x).write(code).write(scale))
}

/// y = the values that code stands for after [`quantize_groups`] with this scale, rounded to y's type:
/// kernel `dequantize_groups`.
///
/// code is E4M3 or E5M2, y F32 or BF16 of its shape, scale F32 `[groups, 2]`.
pub fn dequantize_groups(queue: &Queue, code: &Tensor, scale: &Tensor, y: &Tensor) -> Result<()> {
    let operation = "dequantize_groups";
    expect::shape(operation, "y", y, code.shape())?;
    expect::shape(operation, "scale", scale, ScaleRule::Expand.scale_shape(code.elements()))?;
    queue.launch(Launch::new(operation).read(code).read(scale).write(y))
}
