//! Causal attention in blocks, forward and backward, never with the whole matrix of scores.

use fp8lm_device::{DType, Launch, Queue, Result, Tensor};

use crate::{ACTIVATIONS, expect};

/// Causal attention of every head of every sequence: o [tokens, heads * head_dim] and the
/// log-sum-exp of the scaled scores, lse [tokens, heads] in f32: kernel `attention`.
///
/// `qkv` is [tokens, 3 * heads * head_dim] in f32 or BF16: for every token its queries, keys and
/// values, head by head. Scores are scaled by f32(1 / sqrt(head_dim)). Sums are f32 in a fixed
/// order; probabilities round to `qkv`'s type before they weigh the values, and so does o.
///
/// # Errors
/// If `qkv` has another shape.
pub fn attention(queue: &Queue, qkv: &Tensor, heads: &Heads) -> Result<(Tensor, Tensor)> {
    expect::shape("attention", "qkv", qkv, [heads.tokens(), 3 * heads.width()])?;
    let o = queue.alloc(qkv.dtype(), [heads.tokens(), heads.width()], ACTIVATIONS)?;
    let lse = queue.alloc(DType::F32, [heads.tokens(), heads.heads], ACTIVATIONS)?;
    let launch = Launch::new("attention").read(qkv).write(&o).write(&lse);
    queue.launch(heads.append_to(launch))?;
    Ok((o, lse))
}

/// The gradient dqkv of `qkv`, in its type and shape, from the gradient `d_o` of [`attention`]'s
/// o: kernel `attention_backward`.
///
/// The probabilities are computed anew from `qkv` and `lse`; they and the gradients of the scores
/// round to `qkv`'s type before they are multiplied further.
///
/// # Errors
/// If one of the tensors has another shape than in [`attention`].
pub fn attention_backward(
    queue: &Queue,
    d_o: &Tensor,
    qkv: &Tensor,
    o: &Tensor,
    lse: &Tensor,
    heads: &Heads,
) -> Result<Tensor> {
    let operation = "attention_backward";
    expect::shape(operation, "d_o", d_o, [heads.tokens(), heads.width()])?;
    expect::shape(operation, "qkv", qkv, [heads.tokens(), 3 * heads.width()])?;
    expect::shape(operation, "o", o, [heads.tokens(), heads.width()])?;
    expect::shape(operation, "lse", lse, [heads.tokens(), heads.heads])?;
    let dqkv = queue.alloc(qkv.dtype(), qkv.shape(), ACTIVATIONS)?;
    let launch = Launch::new(operation).read(d_o).read(qkv).read(o).read(lse).write(&dqkv);
    queue.launch(heads.append_to(launch))?;
    Ok(dqkv)
}

/// How the rows of a packed `qkv` tensor [batch * context, 3 * heads * head_dim] are cut into
/// sequences and heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heads {
    /// The number of sequences.
    pub batch: usize,
    /// Tokens in each sequence.
    pub context: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Elements of one head's query, key or value.
    pub head_dim: usize,
}

impl Heads {
    /// Rows of `qkv`.
    pub fn tokens(&self) -> usize {
        self.batch * self.context
    }

    /// Elements of a token's queries over all heads; keys and values have as many.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Appends the four extents and the softmax scale.
    fn append_to(&self, launch: Launch) -> Launch {
        let softmax_scale = (1.0 / (self.head_dim as f64).sqrt()) as f32;
        launch
            .extent(self.batch)
            .extent(self.context)
            .extent(self.heads)
            .extent(self.head_dim)
            .f32(softmax_scale)
    }
}
