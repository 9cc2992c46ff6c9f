//! Cross-entropy fused with softmax, loss and gradient in one pass over the logits.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, expect};

/// The loss of every row, f32 `[rows]`, and `gradient_scale` times its gradient, in the type of
/// `logits` [rows, cols], for one target a row, u32 `[rows]`: kernel `cross_entropy`.
///
/// Arithmetic is f32, one rounding a step, the sum canonical; the gradient is rounded to its type
/// once. A target outside the vocabulary gives a loss of NaN and a gradient of NaN; another shape
/// is an error.
pub fn cross_entropy(
    queue: &Queue,
    logits: &Tensor,
    targets: &Tensor,
    gradient_scale: f32,
) -> Result<(Tensor, Tensor)> {
    expect::elements("cross_entropy", "targets", targets, logits.rows())?;
    let loss = queue.alloc(DType::F32, logits.rows(), ACTIVATIONS)?;
    let dlogits = queue.alloc(logits.dtype(), logits.shape(), ACTIVATIONS)?;
    let launch = Launch::new("cross_entropy").read(logits).read(targets).write(&loss);
    let launch = launch.write(&dlogits).extent(logits.rows()).extent(logits.cols());
    queue.launch(launch.f32(gradient_scale))?;
    Ok((loss, dlogits))
}
