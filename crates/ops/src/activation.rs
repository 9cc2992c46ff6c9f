//! Activation functions of the feed-forward network.
//!
//! Arithmetic is f32, one rounding a step, in the order of `docs/numerics.md`; results have the
//! type of x. Shapes that do not fit are an error.

use fp8lm_device::{Launch, Queue, Result, Shape, Tensor};

use crate::{ACTIVATIONS, expect};

/// GELU of every element, in its tanh form: kernel `gelu`.
pub fn gelu(queue: &Queue, x: &Tensor) -> Result<Tensor> {
    let y = queue.alloc(x.dtype(), x.shape(), ACTIVATIONS)?;
    queue.launch(Launch::new("gelu").read(x).write(&y))?;
    Ok(y)
}

/// The gradient of [`gelu`] at x, from the one of its result: kernel `gelu_backward`.
pub fn gelu_backward(queue: &Queue, dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    expect::shape("gelu_backward", "dy", dy, x.shape())?;
    let dx = queue.alloc(x.dtype(), x.shape(), ACTIVATIONS)?;
    queue.launch(Launch::new("gelu_backward").read(dy).read(x).write(&dx))?;
    Ok(dx)
}

/// silu(gate) * up [rows, cols] for x [rows, 2 * cols], gate and up side by side, where
/// silu(g) = g / (1 + exp(-g)): kernel `swiglu`.
pub fn swiglu(queue: &Queue, x: &Tensor) -> Result<Tensor> {
    let shape = halved("swiglu", x)?;
    let y = queue.alloc(x.dtype(), shape, ACTIVATIONS)?;
    let launch = Launch::new("swiglu").read(x).write(&y);
    queue.launch(launch.extent(y.rows()).extent(y.cols()))?;
    Ok(y)
}

/// The gradient of [`swiglu`] at x, from the one of its result: kernel `swiglu_backward`.
pub fn swiglu_backward(queue: &Queue, dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    expect::shape("swiglu_backward", "dy", dy, halved("swiglu_backward", x)?)?;
    let dx = queue.alloc(x.dtype(), x.shape(), ACTIVATIONS)?;
    let launch = Launch::new("swiglu_backward").read(dy).read(x).write(&dx);
    queue.launch(launch.extent(dy.rows()).extent(dy.cols()))?;
    Ok(dx)
}

/// The shape of one half of x.
fn halved(operation: &'static str, x: &Tensor) -> Result<Shape> {
    let fits = x.cols().is_multiple_of(2) && x.shape().dims().len() == 2;
    expect::that(fits, operation, "x", x, || "a matrix of an even number of columns".into())?;
    Ok([x.rows(), x.cols() / 2].into())
}
