//! Per-tensor quantisation: amax, scale, codes, and back.

use fp8lm_device::{Launch, Queue, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::{GROUP, expect};

/// How a scale follows from the largest magnitude (amax) that it must bring into range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleRule {
    /// The scale is 1.
    None,
    /// The format's maximum over amax.
    Exact,
    /// The largest power of two that is not above that.
    Pow2,
    /// Every group of FP8 values has a scale, and a power that expands its range to the format's,
    /// as [`quantize_groups`](crate::quantize_groups) chooses them. For the moments of an
    /// optimizer.
    Expand,
}

impl ScaleRule {
    /// The number of the rule in launches.
    pub(crate) fn code(self) -> u32 {
        match self {
            ScaleRule::None => 0,
            ScaleRule::Exact => 1,
            ScaleRule::Pow2 => 2,
            ScaleRule::Expand => 3,
        }
    }

    /// The shape of the scale beside this number of values.
    pub fn scale_shape(self, elements: usize) -> Shape {
        match self {
            ScaleRule::Expand => [elements.div_ceil(GROUP), 2].into(),
            _ => 1.into(),
        }
    }
}

/// amax `[1]` = the largest magnitude of x, NaN counting as infinite: kernel `amax`.
///
/// x is F32 or BF16, amax F32. Exact.
pub fn amax(queue: &Queue, x: &Tensor, amax: &Tensor) -> Result<()> {
    expect::elements("amax", "amax", amax, 1)?;
    queue.launch(Launch::new("amax").read(x).write(amax))
}

/// scale `[1]` = head `[1]` times the scale that brings the largest of `amaxes` to `fp_max`, and
/// scale_inv `[1]` = 1 / scale: kernel `scale_from_amax`.
///
/// All tensors are F32. Where that amax is 0 or not finite, the scale is head.
///
/// # Errors
/// If shapes differ, or the rule is [`ScaleRule::Expand`].
pub fn scale_from_amax(
    queue: &Queue,
    amaxes: &Tensor,
    head: &Tensor,
    fp_max: f32,
    rule: ScaleRule,
    scale: &Tensor,
    scale_inv: &Tensor,
) -> Result<()> {
    let operation = "scale_from_amax";
    expect::elements(operation, "head", head, 1)?;
    expect::elements(operation, "scale", scale, 1)?;
    expect::elements(operation, "scale_inv", scale_inv, 1)?;
    let launch = Launch::new(operation).read(amaxes).read(head).write(scale).write(scale_inv);
    queue.launch(launch.f32(fp_max).u32(rule.code()))
}

/// Moves amax `[1]` into the ring `history [window]` at place count `[1]`, and counts it: kernel
/// `push_amax`.
///
/// amax and history are F32, count is U32. An amax that is not finite is remembered as 0; amax
/// itself starts again from 0.
///
/// # Errors
/// If the window is empty.
pub fn push_amax(queue: &Queue, amax: &Tensor, history: &Tensor, count: &Tensor) -> Result<()> {
    expect::elements("push_amax", "amax", amax, 1)?;
    expect::elements("push_amax", "count", count, 1)?;
    queue.launch(Launch::new("push_amax").update(amax).update(history).update(count))
}

/// code = x * scale `[1]`, rounded to nearest-even and saturated: kernel `quantize`.
///
/// x is F32 or BF16, code E4M3 or E5M2 of x's shape. amax `[1]` grows to the largest magnitude of
/// x; counts `[2]` (U64) grow by the elements that saturated and by those that became 0.
pub fn quantize(
    queue: &Queue,
    x: &Tensor,
    scale: &Tensor,
    code: &Tensor,
    amax: &Tensor,
    counts: &Tensor,
) -> Result<()> {
    expect_quantized("quantize", x, scale, code, amax, counts)?;
    let launch = Launch::new("quantize").read(x).read(scale).write(code);
    queue.launch(launch.update(amax).update(counts))
}

/// As [`quantize`] for x [rows, cols], with the same codes also as code_t [cols, rows]: kernel
/// `quantize_transpose`.
pub fn quantize_transpose(
    queue: &Queue,
    x: &Tensor,
    scale: &Tensor,
    code: &Tensor,
    code_t: &Tensor,
    amax: &Tensor,
    counts: &Tensor,
) -> Result<()> {
    let operation = "quantize_transpose";
    let (rows, cols) = (x.rows(), x.cols());
    expect_quantized(operation, x, scale, code, amax, counts)?;
    expect::shape(operation, "code_t", code_t, [cols, rows])?;
    let launch = Launch::new(operation).read(x).read(scale).write(code).write(code_t);
    queue.launch(launch.update(amax).update(counts).extent(rows).extent(cols))
}

/// y = code * scale_inv `[1]`, rounded once in f32 and once to y's type: kernel `dequantize`.
///
/// code is F32, BF16, F16, E4M3 or E5M2; y is F32 or BF16, of the same shape.
pub fn dequantize(queue: &Queue, code: &Tensor, scale_inv: &Tensor, y: &Tensor) -> Result<()> {
    expect::elements("dequantize", "scale_inv", scale_inv, 1)?;
    expect::shape("dequantize", "y", y, code.shape())?;
    queue.launch(Launch::new("dequantize").read(code).read(scale_inv).write(y))
}

pub(crate) fn expect_quantized(
    operation: &'static str,
    x: &Tensor,
    scale: &Tensor,
    code: &Tensor,
    amax: &Tensor,
    counts: &Tensor,
) -> Result<()> {
    expect::elements(operation, "scale", scale, 1)?;
    expect::shape(operation, "code", code, x.shape())?;
    expect::elements(operation, "amax", amax, 1)?;
    expect::elements(operation, "counts", counts, 2)
}
