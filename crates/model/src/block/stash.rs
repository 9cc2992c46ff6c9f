//! What a block keeps for its backward pass, and how the rest is made again.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops::{Heads, RopeTables};
use fp8lm_scaling::Pass;

use super::Block;
use crate::{Recompute, attention::AttentionStash, mlp::MlpStash, norm::NormStash};

/// What the backward pass of a block needs, or makes that from.
#[derive(Debug)]
pub(crate) enum BlockStash {
    Whole(Box<Whole>),
    Inputs(Box<Inputs>),
    /// What the block was given.
    Input {
        x: Tensor,
        heads: Heads,
    },
}

/// All that the backward pass of a block reads.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(super) norm1: NormStash,
    pub(super) attention: AttentionStash,
    pub(super) norm2: NormStash,
    pub(super) mlp: MlpStash,
}

/// What goes into norms, attention and the activation function.
#[derive(Debug)]
pub(crate) struct Inputs {
    heads: Heads,
    x1: Tensor,
    /// Behind RoPE.
    qkv: Tensor,
    x2: Tensor,
    u: Tensor,
}

impl Whole {
    /// What is kept of it.
    pub(super) fn kept(self, recompute: Recompute) -> BlockStash {
        let heads = self.attention.heads;
        match recompute {
            Recompute::None => BlockStash::Whole(Box::new(self)),
            Recompute::Selective => {
                let (x1, qkv) = (self.norm1.x, self.attention.qkv);
                let (x2, u) = (self.norm2.x, self.mlp.u);
                BlockStash::Inputs(Box::new(Inputs { heads, x1, qkv, x2, u }))
            }
            Recompute::Full => BlockStash::Input { x: self.norm1.x, heads },
        }
    }
}

impl Block {
    /// Makes again what was not kept, with the same bits and without a trace in histories and counters.
    pub(super) fn whole(
        &mut self,
        queue: &Queue,
        stash: BlockStash,
        rope: &RopeTables,
    ) -> Result<Whole> {
        match stash {
            BlockStash::Whole(whole) => Ok(*whole),
            BlockStash::Inputs(inputs) => self.whole_of_inputs(queue, *inputs),
            BlockStash::Input { x, heads } => self.whole_of_input(queue, &x, heads, rope),
        }
    }

    fn whole_of_inputs(&mut self, queue: &Queue, inputs: Inputs) -> Result<Whole> {
        let Inputs { heads, x1, qkv, x2, u } = inputs;
        let (h, norm1) = self.norm1.forward(queue, &x1)?;
        let attention = self.attention.again(queue, &h, qkv, heads)?;
        let (h, norm2) = self.norm2.forward(queue, &x2)?;
        let mlp = self.mlp.again(queue, &h, u)?;
        Ok(Whole { norm1, attention, norm2, mlp })
    }

    /// The forward pass without its last product, which no gradient reads.
    fn whole_of_input(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        heads: Heads,
        rope: &RopeTables,
    ) -> Result<Whole> {
        let pass = Pass::Recompute;
        let (x, norm1, attention) = self.attend(queue, x, heads, rope, pass)?;
        let (h, norm2) = self.norm2.forward(queue, &x)?;
        let mlp = self.mlp.forward_but_down(queue, &h)?;
        Ok(Whole { norm1, attention, norm2, mlp })
    }
}
