//! A linear on activations and weights as they are.

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, Accumulate, Layout};
use fp8lm_scaling::{Parameter, Pass, Quantizer, SCALES, Scaled};

use super::{Kind, Linear, OutputGradient};
use crate::Border;

/// A linear in f32 or BF16.
#[derive(Debug)]
pub struct PlainLinear {
    parameter: Parameter,
    one: Tensor,
    border: Border,
}

impl PlainLinear {
    /// A linear with this weight: this member's, of one that members share.
    pub fn new(queue: &Queue, parameter: Parameter, border: Border) -> Result<Self> {
        Ok(Self { parameter, one: queue.upload(&[1.0f32], 1, SCALES)?, border })
    }

    fn unscaled(&self, values: &Tensor) -> Scaled {
        Scaled { values: values.clone(), scale_inv: self.one.clone() }
    }
}

impl Linear for PlainLinear {
    fn forward(&mut self, queue: &Queue, x: &Tensor, _: Pass) -> Result<(Tensor, Scaled)> {
        let rows = self.border.enter(queue, x)?;
        let y = plain_forward(queue, &self.parameter, &rows)?;
        Ok((self.border.leave(queue, y)?, self.unscaled(x)))
    }

    fn keep(&mut self, _: &Queue, x: &Tensor) -> Result<Scaled> {
        Ok(self.unscaled(x))
    }

    fn output_gradient(&mut self, queue: &Queue, dy: &Tensor) -> Result<OutputGradient> {
        let dy = self.unscaled(&self.border.enter_backward(queue, dy)?);
        Ok(OutputGradient { rows: dy.clone(), kept: dy })
    }

    fn input_gradient(&mut self, queue: &Queue, dy: &OutputGradient) -> Result<Tensor> {
        let dx = plain_input_gradient(queue, &self.parameter, &dy.rows.values)?;
        self.border.leave_backward(queue, dx)
    }

    fn weight_gradient(&mut self, queue: &Queue, dy: &OutputGradient, x: &Scaled) -> Result<()> {
        let x = self.border.enter(queue, &x.values)?;
        plain_weight_gradient(queue, &mut self.parameter, &dy.kept.values, &x)
    }

    fn parameter(&self) -> &Parameter {
        &self.parameter
    }

    fn parameter_mut(&mut self) -> &mut Parameter {
        &mut self.parameter
    }

    fn quantizers(&mut self) -> Vec<(Kind, &mut Quantizer)> {
        Vec::new()
    }
}

/// y = x W^T, in x's type.
pub(crate) fn plain_forward(queue: &Queue, weight: &Parameter, x: &Tensor) -> Result<Tensor> {
    let weight = weight.weight(queue, x.dtype())?;
    ops::matmul(queue, x, &weight, Layout::Nt, Accumulate::F32, x.dtype())
}

/// dx = dy W, in dy's type.
pub(crate) fn plain_input_gradient(
    queue: &Queue,
    weight: &Parameter,
    dy: &Tensor,
) -> Result<Tensor> {
    let weight = weight.weight(queue, dy.dtype())?;
    ops::matmul(queue, dy, &weight, Layout::Nn, Accumulate::F32, dy.dtype())
}

/// Adds dy^T x, in f32, to the weight's gradient.
pub(crate) fn plain_weight_gradient(
    queue: &Queue,
    weight: &mut Parameter,
    dy: &Tensor,
    x: &Tensor,
) -> Result<()> {
    let dw = ops::matmul(queue, dy, x, Layout::Tn, Accumulate::F32, DType::F32)?;
    weight.gradient_mut().add(queue, dw)
}
