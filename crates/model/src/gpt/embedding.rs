//! The embedding, whose table the members of a split share by tokens.

use fp8lm_device::{DType, Queue, Tensor};
use fp8lm_ops as ops;
use fp8lm_scaling::Parameter;

use crate::{Result, Split, TABLES};

/// The residual stream of all `tokens`, or its own rows, of type `dtype`.
///
/// Each row comes from one member, to which the others add +0: exact, but for a -0, which becomes +0.
pub(super) fn forward(
    queue: &Queue,
    split: &Split,
    tokens: &Tensor,
    table: &Parameter,
    dtype: DType,
) -> Result<Tensor> {
    let table = table.weight(queue, dtype)?;
    let partial = ops::embedding_share(queue, tokens, &table, split.share())?;
    Ok(split.reduce(queue, partial, TABLES)?)
}

/// Adds the gradient of the table, from that of the residual stream. Exact: the bits of the whole table's rows.
pub(super) fn backward(
    queue: &Queue,
    split: &Split,
    tokens: &Tensor,
    dx: &Tensor,
    table: &mut Parameter,
) -> Result<()> {
    let dx = split.gather(queue, dx, TABLES)?;
    let (rows, share) = (table.spec().shape.rows(), split.share());
    let gradient = ops::embedding_backward_share(queue, tokens, &dx, rows, share)?;
    Ok(table.gradient_mut().add(queue, gradient)?)
}
