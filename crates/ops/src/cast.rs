//! Fills, conversions without a scale, transpositions, sums of two tensors.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, expect};

/// y = value everywhere, in y's type: kernel `fill`.
///
/// One rounding to nearest-even; FP8 saturates, the other formats overflow to infinity.
///
/// # Errors
/// If y counts and the value is not a whole number that its type can hold.
pub fn fill(queue: &Queue, y: &Tensor, value: f32) -> Result<()> {
    queue.launch(Launch::new("fill").write(y).f32(value))
}

/// x in another type: kernel `cast`, between F32, BF16, F16, E4M3 and E5M2.
///
/// One rounding to nearest-even; FP8 saturates, the other formats overflow to infinity.
pub fn cast(queue: &Queue, x: &Tensor, dtype: DType) -> Result<Tensor> {
    let y = queue.alloc(dtype, x.shape(), ACTIVATIONS)?;
    cast_into(queue, x, &y)?;
    Ok(y)
}

/// As [`cast`], into a tensor of x's shape.
pub fn cast_into(queue: &Queue, x: &Tensor, y: &Tensor) -> Result<()> {
    expect::shape("cast", "y", y, x.shape())?;
    queue.launch(Launch::new("cast").read(x).write(y))
}

/// x, read as [rows, cols], turned to [cols, rows]: kernel `transpose`, for F32, BF16, F16, E4M3, E5M2 and U8.
pub fn transpose(queue: &Queue, x: &Tensor) -> Result<Tensor> {
    let (rows, cols) = (x.rows(), x.cols());
    let y = queue.alloc(x.dtype(), [cols, rows], ACTIVATIONS)?;
    queue.launch(Launch::new("transpose").read(x).write(&y).extent(rows).extent(cols))?;
    Ok(y)
}

/// a + b, in a's type: kernel `add`.
///
/// # Errors
/// If the shapes differ.
pub fn add(queue: &Queue, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    expect::shape("add", "b", b, a.shape())?;
    let y = queue.alloc(a.dtype(), a.shape(), ACTIVATIONS)?;
    queue.launch(Launch::new("add").read(a).read(b).write(&y))?;
    Ok(y)
}
