//! Token embedding: rows of a table, and the sum of gradients per row.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, Share, expect};

/// The row of `table` [vocabulary, cols] of every token, u32 `[count]`: [count, cols] in the
/// table's type. Kernel `embedding`.
///
/// Exact. A token outside the vocabulary gives a row of NaN; another shape is an error.
pub fn embedding(queue: &Queue, tokens: &Tensor, table: &Tensor) -> Result<Tensor> {
    embedding_share(queue, tokens, table, Share::WHOLE)
}

/// As [`embedding`], from a table that is a member's share of the vocabulary: the tokens of others give rows of +0, so
/// that the sum over the members is what the whole table gives, but for a -0, which becomes +0.
///
/// A token outside the vocabulary gives a row of NaN on every member.
pub fn embedding_share(
    queue: &Queue,
    tokens: &Tensor,
    table: &Tensor,
    share: Share,
) -> Result<Tensor> {
    let is_matrix = table.shape().dims().len() == 2;
    expect::that(is_matrix, "embedding", "table", table, || "a matrix".into())?;
    let y = queue.alloc(table.dtype(), [tokens.elements(), table.cols()], ACTIVATIONS)?;
    let launch = Launch::new("embedding").read(tokens).read(table).write(&y);
    let launch = launch.extent(table.cols()).extent(share.first(table.rows()));
    queue.launch(launch.extent(share.vocabulary(table.rows())))?;
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
    embedding_backward_share(queue, tokens, dy, vocabulary, Share::WHOLE)
}

/// As [`embedding_backward`], for the `rows` rows that are a member's share of the vocabulary: each has the bits
/// that it has in the whole gradient.
pub fn embedding_backward_share(
    queue: &Queue,
    tokens: &Tensor,
    dy: &Tensor,
    rows: usize,
    share: Share,
) -> Result<Tensor> {
    expect::shape("embedding_backward", "dy", dy, [tokens.elements(), dy.cols()])?;
    let dtable = queue.alloc(DType::F32, [rows, dy.cols()], ACTIVATIONS)?;
    let launch = Launch::new("embedding_backward").read(tokens).read(dy).write(&dtable);
    queue.launch(launch.extent(dy.cols()).extent(share.first(rows)))?;
    Ok(dtable)
}
