//! Causal attention in blocks, forward and backward, never with the whole matrix of scores.

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
}
