//! A transformer block: attention and feed-forward network, each behind a norm and a residual.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops::{self as ops, Heads, RopeTables};
use fp8lm_scaling::{Parameter, Pass};

use self::stash::Whole;
use crate::{
    Attention, Linear, Mlp, Norm, Recompute,
    attention::{AttentionPending, AttentionStash},
    mlp::MlpPending,
    norm::{NormPending, NormStash},
};

mod stash;

pub(crate) use stash::BlockStash;

/// A transformer block.
#[derive(Debug)]
pub struct Block {
    pub(crate) norm1: Norm,
    pub(crate) attention: Attention,
    pub(crate) norm2: Norm,
    pub(crate) mlp: Mlp,
    pub(crate) recompute: Recompute,
}

/// What the weight gradients of a block need.
#[derive(Debug)]
pub(crate) struct BlockPending {
    norm1: NormPending,
    attention: AttentionPending,
    norm2: NormPending,
    mlp: MlpPending,
}

impl Block {
    pub(crate) fn forward(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        heads: Heads,
        rope: &RopeTables,
        pass: Pass,
    ) -> Result<(Tensor, BlockStash)> {
        let (x, norm1, attention) = self.attend(queue, x, heads, rope, pass)?;
        let (h, norm2) = self.norm2.forward(queue, &x)?;
        let (m, mlp) = self.mlp.forward(queue, &h, pass)?;
        let whole = Whole { norm1, attention, norm2, mlp };
        Ok((ops::add(queue, &x, &m)?, whole.kept(self.recompute)))
    }

    /// dx, and what the weight gradients need.
    pub(crate) fn input_gradient(
        &mut self,
        queue: &Queue,
        dy: &Tensor,
        stash: BlockStash,
        rope: &RopeTables,
    ) -> Result<(Tensor, BlockPending)> {
        let Whole { norm1, attention, norm2, mlp } = self.whole(queue, stash, rope)?;
        let (dh, mlp) = self.mlp.input_gradient(queue, dy, mlp)?;
        let (dx2, norm2) = self.norm2.input_gradient(queue, &dh, &norm2)?;
        let dx = ops::add(queue, dy, &dx2)?;
        let (dh, attention) = self.attention.input_gradient(queue, &dx, attention, rope)?;
        let (dx1, norm1) = self.norm1.input_gradient(queue, &dh, &norm1)?;
        Ok((ops::add(queue, &dx, &dx1)?, BlockPending { norm1, attention, norm2, mlp }))
    }

    pub(crate) fn weight_gradient(&mut self, queue: &Queue, pending: BlockPending) -> Result<()> {
        self.mlp.weight_gradient(queue, pending.mlp)?;
        self.norm2.weight_gradient(queue, pending.norm2)?;
        self.attention.weight_gradient(queue, pending.attention)?;
        self.norm1.weight_gradient(queue, pending.norm1)
    }

    /// The linears, in order of use.
    pub(crate) fn linears_mut(&mut self) -> [&mut Box<dyn Linear>; 4] {
        let Attention { qkv, proj } = &mut self.attention;
        let Mlp { up, down, .. } = &mut self.mlp;
        [qkv, proj, up, down]
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let attention = [self.attention.qkv.parameter(), self.attention.proj.parameter()];
        let mlp = [self.mlp.up.parameter(), self.mlp.down.parameter()];
        let front = self.norm1.parameters().chain(attention);
        front.chain(self.norm2.parameters()).chain(mlp)
    }

    pub(crate) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let Attention { qkv, proj } = &mut self.attention;
        let Mlp { up, down, .. } = &mut self.mlp;
        let front = self.norm1.parameters_mut().chain([qkv.parameter_mut(), proj.parameter_mut()]);
        front.chain(self.norm2.parameters_mut()).chain([up.parameter_mut(), down.parameter_mut()])
    }

    /// The residual stream behind attention.
    fn attend(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        heads: Heads,
        rope: &RopeTables,
        pass: Pass,
    ) -> Result<(Tensor, NormStash, AttentionStash)> {
        let (h, norm1) = self.norm1.forward(queue, x)?;
        let (a, attention) = self.attention.forward(queue, &h, heads, rope, pass)?;
        Ok((ops::add(queue, x, &a)?, norm1, attention))
    }
}
