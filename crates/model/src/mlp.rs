//! The feed-forward network: a widening linear, an activation function, a narrowing linear.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops as ops;
use fp8lm_scaling::{Pass, Scaled};

use crate::{
    Activation,
    linear::{Linear, OutputGradient},
};

/// The feed-forward network of one block.
#[derive(Debug)]
pub struct Mlp {
    pub(crate) up: Box<dyn Linear>,
    pub(crate) down: Box<dyn Linear>,
    pub(crate) activation: Activation,
}

/// What its backward pass needs.
#[derive(Debug)]
pub(crate) struct MlpStash {
    x: Scaled,
    /// The activation function's input.
    pub(crate) u: Tensor,
    down_x: Scaled,
}

/// What its weight gradients need.
#[derive(Debug)]
pub(crate) struct MlpPending {
    up: (OutputGradient, Scaled),
    down: (OutputGradient, Scaled),
}

impl Mlp {
    pub(crate) fn forward(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        pass: Pass,
    ) -> Result<(Tensor, MlpStash)> {
        let (u, x) = self.up.forward(queue, x, pass)?;
        let a = self.activate(queue, &u)?;
        let (y, down_x) = self.down.forward(queue, &a, pass)?;
        Ok((y, MlpStash { x, u, down_x }))
    }

    /// What [`forward`](Self::forward) kept, of its input alone.
    pub(crate) fn forward_but_down(&mut self, queue: &Queue, x: &Tensor) -> Result<MlpStash> {
        let (u, x) = self.up.forward(queue, x, Pass::Recompute)?;
        self.stash(queue, x, u)
    }

    /// What [`forward`](Self::forward) kept, of its input and of `u`.
    pub(crate) fn again(&mut self, queue: &Queue, x: &Tensor, u: Tensor) -> Result<MlpStash> {
        let x = self.up.keep(queue, x)?;
        self.stash(queue, x, u)
    }

    pub(crate) fn input_gradient(
        &mut self,
        queue: &Queue,
        dy: &Tensor,
        stash: MlpStash,
    ) -> Result<(Tensor, MlpPending)> {
        let MlpStash { x, u, down_x } = stash;
        let dy = self.down.output_gradient(queue, dy)?;
        let da = self.down.input_gradient(queue, &dy)?;
        let du = match self.activation {
            Activation::Gelu => ops::gelu_backward(queue, &da, &u)?,
            Activation::Swiglu => ops::swiglu_backward(queue, &da, &u)?,
        };
        let du = self.up.output_gradient(queue, &du)?;
        let dx = self.up.input_gradient(queue, &du)?;
        Ok((dx, MlpPending { up: (du, x), down: (dy, down_x) }))
    }

    pub(crate) fn weight_gradient(&mut self, queue: &Queue, pending: MlpPending) -> Result<()> {
        let MlpPending { up: (du, x), down: (dy, down_x) } = pending;
        self.down.weight_gradient(queue, &dy, &down_x)?;
        self.up.weight_gradient(queue, &du, &x)
    }

    fn activate(&self, queue: &Queue, u: &Tensor) -> Result<Tensor> {
        match self.activation {
            Activation::Gelu => ops::gelu(queue, u),
            Activation::Swiglu => ops::swiglu(queue, u),
        }
    }

    fn stash(&mut self, queue: &Queue, x: Scaled, u: Tensor) -> Result<MlpStash> {
        let a = self.activate(queue, &u)?;
        let down_x = self.down.keep(queue, &a)?;
        Ok(MlpStash { x, u, down_x })
    }
}
