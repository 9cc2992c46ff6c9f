//! RMSNorm and LayerNorm, forward and backward.
//!
//! x is read as a matrix of its last dim, [rows, cols]; gain and shift have cols elements. All
//! arithmetic is f32, one rounding a step, sums in the order of the table of kernels; what has
//! x's type is rounded to it once. Shapes that do not fit are an error.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, expect};

/// y = x * rstd * gain in x's type, and rstd = 1 / sqrt(mean(x^2) + eps), f32 `[rows]`: kernel
/// `rms_norm`.
pub fn rms_norm(queue: &Queue, x: &Tensor, gain: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    expect::elements("rms_norm", "gain", gain, x.cols())?;
    let (y, rstd) = (like(queue, x)?, vector(queue, x.rows())?);
    let launch = Launch::new("rms_norm").read(x).read(gain).write(&y).write(&rstd);
    queue.launch(launch.extent(x.rows()).extent(x.cols()).f32(eps))?;
    Ok((y, rstd))
}

/// The gradients (dx in x's type, dgain f32 `[cols]`) of [`rms_norm`], from the one of its y and
/// from its rstd: kernel `rms_norm_backward`.
pub fn rms_norm_backward(
    queue: &Queue,
    dy: &Tensor,
    x: &Tensor,
    gain: &Tensor,
    rstd: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let operation = "rms_norm_backward";
    expect::shape(operation, "dy", dy, x.shape())?;
    expect::elements(operation, "gain", gain, x.cols())?;
    expect::elements(operation, "rstd", rstd, x.rows())?;
    let (dx, dgain) = (like(queue, x)?, vector(queue, x.cols())?);
    let launch = Launch::new(operation).read(dy).read(x).read(gain).read(rstd);
    queue.launch(launch.write(&dx).write(&dgain).extent(x.rows()).extent(x.cols()))?;
    Ok((dx, dgain))
}

/// y = (x - mean) * rstd * gain + shift in x's type, and of every row the mean and
/// rstd = 1 / sqrt(mean((x - mean)^2) + eps), f32 `[rows]`: kernel `layer_norm`.
pub fn layer_norm(
    queue: &Queue,
    x: &Tensor,
    gain: &Tensor,
    shift: &Tensor,
    eps: f32,
) -> Result<(Tensor, Tensor, Tensor)> {
    expect::elements("layer_norm", "gain", gain, x.cols())?;
    expect::elements("layer_norm", "shift", shift, x.cols())?;
    let y = like(queue, x)?;
    let (mean, rstd) = (vector(queue, x.rows())?, vector(queue, x.rows())?);
    let launch = Launch::new("layer_norm").read(x).read(gain).read(shift);
    let launch = launch.write(&y).write(&mean).write(&rstd);
    queue.launch(launch.extent(x.rows()).extent(x.cols()).f32(eps))?;
    Ok((y, mean, rstd))
}

/// The gradients (dx in x's type, dgain and dshift f32 `[cols]`) of [`layer_norm`], from the one of
/// its y and from its mean and rstd: kernel `layer_norm_backward`.
pub fn layer_norm_backward(
    queue: &Queue,
    dy: &Tensor,
    x: &Tensor,
    gain: &Tensor,
    mean: &Tensor,
    rstd: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let operation = "layer_norm_backward";
    expect::shape(operation, "dy", dy, x.shape())?;
    expect::elements(operation, "gain", gain, x.cols())?;
    expect::elements(operation, "mean", mean, x.rows())?;
    expect::elements(operation, "rstd", rstd, x.rows())?;
    let dx = like(queue, x)?;
    let (dgain, dshift) = (vector(queue, x.cols())?, vector(queue, x.cols())?);
    let launch = Launch::new(operation).read(dy).read(x).read(gain).read(mean).read(rstd);
    let launch = launch.write(&dx).write(&dgain).write(&dshift);
    queue.launch(launch.extent(x.rows()).extent(x.cols()))?;
    Ok((dx, dgain, dshift))
}

fn like(queue: &Queue, x: &Tensor) -> Result<Tensor> {
    queue.alloc(x.dtype(), x.shape(), ACTIVATIONS)
}

fn vector(queue: &Queue, elements: usize) -> Result<Tensor> {
    queue.alloc(DType::F32, elements, ACTIVATIONS)
}
