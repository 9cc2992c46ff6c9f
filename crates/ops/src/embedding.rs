//! Token embedding: rows of a table, and the sum of gradients per row.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, expect};

/// The row of `table` [vocabulary, cols] of every token, u32 `[count]`: [count, cols] in the
/// table's type. Kernel `embedding`.
///
/// Exact. A token outside the vocabulary gives a row of NaN; another shape is an error.
pub fn embedding(queue: &Queue, tokens: &Tensor, table: &Tensor) -> Result<Tensor> {
    let is_matrix = table.shape().dims().len() == 2;
    expect::that(is_matrix, "embedding", "table", table, || "a matrix".into())?;
    let y = queue.alloc(table.dtype(), [tokens.elements(), table.cols()], ACTIVATIONS)?;
    let launch = Launch::new("embedding").read(tokens).read(table).write(&y);
    queue.launch(launch.extent(table.cols()))?;
    Ok(y)
}

/// The gradient of [`embedding`] with respect to its table, f32 [vocabulary, cols], from `dy`
/// [count, cols]: for every row of the table the sum, token by token in their order, of the
/// gradients at the places where its token stands. Kernel `embedding_backward`.
///
/// Plain f32 additions from +0. A token outside the vocabulary has no row and is passed over;
/// another shape is an error.
pub fn embedding_backward(
    queue: &Queue,
    tokens: &Tensor,
    dy: &Tensor,
    vocabulary: usize,
) -> Result<Tensor> {
    expect::shape("embedding_backward", "dy", dy, [tokens.elements(), dy.cols()])?;
    let dtable = queue.alloc(DType::F32, [vocabulary, dy.cols()], ACTIVATIONS)?;
    let launch = Launch::new("embedding_backward").read(tokens).read(dy).write(&dtable);
    queue.launch(launch.extent(dy.cols()))?;
    Ok(dtable)
}
