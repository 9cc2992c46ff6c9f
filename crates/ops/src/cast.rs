//! Fills, conversions without a scale, transpositions, sums of two tensors.

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, expect};

/// a + b, in a's type: kernel `add`.
pub fn add(queue: &Queue, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    expect::shape("add", "b", b, a.shape())?;
    let y = queue.alloc(a.dtype(), a.shape(), ACTIVATIONS)?;
    queue.launch(Launch::new("add").read(a).read(b).write(&y))?;
    Ok(y)
}
