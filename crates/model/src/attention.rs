//! Causal self-attention: one linear for queries, keys and values, rotary positions, the
//! attention kernel, and a projection.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops::{self as ops, Heads, RopeTables};
use fp8lm_scaling::{Pass, Scaled};

use crate::linear::{Linear, OutputGradient};

/// The attention of one block.
#[derive(Debug)]
pub struct Attention {
    pub(crate) qkv: Box<dyn Linear>,
    pub(crate) proj: Box<dyn Linear>,
}

/// What the backward pass of attention needs.
#[derive(Debug)]
pub(crate) struct AttentionStash {
    pub(crate) heads: Heads,
    x: Scaled,
    /// Behind RoPE.
    pub(crate) qkv: Tensor,
    /// None where what the projection keeps of its input stands for it.
    o: Option<Tensor>,
    lse: Tensor,
    proj_x: Scaled,
}

/// What the weight gradients of attention need.
#[derive(Debug)]
pub(crate) struct AttentionPending {
    qkv: (OutputGradient, Scaled),
    proj: (OutputGradient, Scaled),
}

impl Attention {
    pub(crate) fn forward(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        heads: Heads,
        rope: &RopeTables,
        pass: Pass,
    ) -> Result<(Tensor, AttentionStash)> {
        let (qkv, x) = self.qkv.forward(queue, x, pass)?;
        ops::rope(queue, &qkv, rope, &heads, false)?;
        let (o, lse) = ops::attention(queue, &qkv, &heads)?;
        let (y, proj_x) = self.proj.forward(queue, &o, pass)?;
        let o = (!proj_x.is_packed()).then_some(o);
        Ok((y, AttentionStash { heads, x, qkv, o, lse, proj_x }))
    }

    /// What [`forward`](Self::forward) kept, of its input and of `qkv`.
    pub(crate) fn again(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        qkv: Tensor,
        heads: Heads,
    ) -> Result<AttentionStash> {
        let x = self.qkv.keep(queue, x)?;
        let (o, lse) = ops::attention(queue, &qkv, &heads)?;
        let proj_x = self.proj.keep(queue, &o)?;
        let o = (!proj_x.is_packed()).then_some(o);
        Ok(AttentionStash { heads, x, qkv, o, lse, proj_x })
    }

    pub(crate) fn input_gradient(
        &mut self,
        queue: &Queue,
        dy: &Tensor,
        stash: AttentionStash,
        rope: &RopeTables,
    ) -> Result<(Tensor, AttentionPending)> {
        let AttentionStash { heads, x, qkv, o, lse, proj_x } = stash;
        let dy = self.proj.output_gradient(queue, dy)?;
        let d_o = self.proj.input_gradient(queue, &dy)?;
        let o = match o {
            Some(o) => o,
            None => proj_x.decode_tiles(queue, d_o.dtype())?,
        };
        let dqkv = ops::attention_backward(queue, &d_o, &qkv, &o, &lse, &heads)?;
        ops::rope(queue, &dqkv, rope, &heads, true)?;
        let dqkv = self.qkv.output_gradient(queue, &dqkv)?;
        let dx = self.qkv.input_gradient(queue, &dqkv)?;
        Ok((dx, AttentionPending { qkv: (dqkv, x), proj: (dy, proj_x) }))
    }

    pub(crate) fn weight_gradient(
        &mut self,
        queue: &Queue,
        pending: AttentionPending,
    ) -> Result<()> {
        let AttentionPending { qkv: (dqkv, x), proj: (dy, proj_x) } = pending;
        self.proj.weight_gradient(queue, &dy, &proj_x)?;
        self.qkv.weight_gradient(queue, &dqkv, &x)
    }
}
