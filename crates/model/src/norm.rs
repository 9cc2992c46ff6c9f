//! RMSNorm or LayerNorm, with weights of the higher precision.
//!
//! Where members of a group have rows of their own, each has all of the weights and, of their gradient, the sum over
//! all rows.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops as ops;
use fp8lm_scaling::Parameter;

use crate::Split;

/// A norm over the last dim.
#[derive(Debug)]
pub struct Norm {
    gain: Parameter,
    /// LayerNorm's; RMSNorm has none.
    shift: Option<Parameter>,
    eps: f32,
    split: Split,
}

/// What the backward pass of a norm needs.
#[derive(Debug)]
pub struct NormStash {
    pub(crate) x: Tensor,
    mean: Option<Tensor>,
    rstd: Tensor,
}

/// What the gradients of a norm's weights are added from.
#[derive(Debug)]
pub struct NormPending {
    /// Of gain and shift, over the own rows.
    gradients: Vec<Tensor>,
}

impl Norm {
    /// A norm with these weights, whose rows members of `split` may share.
    pub fn new(gain: Parameter, shift: Option<Parameter>, eps: f64, split: Split) -> Self {
        Self { gain, shift, eps: eps as f32, split }
    }

    /// y in x's type, and what the backward pass needs.
    pub fn forward(&self, queue: &Queue, x: &Tensor) -> Result<(Tensor, NormStash)> {
        let gain = self.gain.weight(queue, x.dtype())?;
        let Some(shift) = &self.shift else {
            let (y, rstd) = ops::rms_norm(queue, x, &gain, self.eps)?;
            return Ok((y, NormStash { x: x.clone(), mean: None, rstd }));
        };
        let shift = shift.weight(queue, x.dtype())?;
        let (y, mean, rstd) = ops::layer_norm(queue, x, &gain, &shift, self.eps)?;
        Ok((y, NormStash { x: x.clone(), mean: Some(mean), rstd }))
    }

    /// dx, and what the weights' gradients are added from.
    pub fn input_gradient(
        &self,
        queue: &Queue,
        dy: &Tensor,
        stash: &NormStash,
    ) -> Result<(Tensor, NormPending)> {
        let NormStash { x, mean, rstd } = stash;
        let gain = self.gain.weight(queue, x.dtype())?;
        let Some(mean) = mean else {
            let (dx, dgain) = ops::rms_norm_backward(queue, dy, x, &gain, rstd)?;
            return Ok((dx, NormPending { gradients: vec![dgain] }));
        };
        let (dx, dgain, dshift) = ops::layer_norm_backward(queue, dy, x, &gain, mean, rstd)?;
        Ok((dx, NormPending { gradients: vec![dgain, dshift] }))
    }

    /// Adds the gradients of gain and shift.
    pub fn weight_gradient(&mut self, queue: &Queue, pending: NormPending) -> Result<()> {
        let NormPending { gradients } = pending;
        self.split.sum_rows(queue, &gradients)?;
        let mut both = self.parameters_mut().zip(gradients);
        both.try_for_each(|(weight, gradient)| weight.gradient_mut().add(queue, gradient))
    }

    /// Gain and shift.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        std::iter::once(&self.gain).chain(&self.shift)
    }

    /// Gain and shift, to step.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        std::iter::once(&mut self.gain).chain(&mut self.shift)
    }
}
