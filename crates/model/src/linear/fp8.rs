//! A linear on FP8 operands.
//!
//! Hopper multiplies FP8 matrices only if both are contiguous in the summed dim, so inputs and
//! output gradients are wanted in both layouts, and weights are transposed, code by code and block
//! by block, for the input gradient.

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, Accumulate, Operand};
use fp8lm_scaling::{Casts, Granularity, Parameter, Pass, Quantizer, Scaled};

use super::{Kind, Linear, OutputGradient};

/// A linear whose three multiplications take FP8 operands (FP8-LM, section 2).
#[derive(Debug)]
pub struct Fp8Linear {
    parameter: Parameter,
    input: Quantizer,
    weight: Quantizer,
    output_gradient: Quantizer,
    accumulate: Accumulate,
    /// Whether tiles and blocks have factors, or tensors.
    is_blocked: bool,
    /// The type of activations and of their gradients.
    activations: DType,
}

impl Fp8Linear {
    /// A linear with this weight and these casts, whose results are of type `activations`.
    pub fn new(
        queue: &Queue,
        parameter: Parameter,
        casts: Casts,
        activations: DType,
    ) -> Result<Self> {
        Ok(Self {
            parameter,
            input: Quantizer::new(queue, casts.input)?,
            weight: Quantizer::new(queue, casts.weight)?,
            output_gradient: Quantizer::new(queue, casts.output_gradient)?,
            accumulate: casts.accumulate,
            is_blocked: casts.weight.granularity != Granularity::Tensor,
            activations,
        })
    }

    /// The weight's codes: the stored ones, or a cast of what is stored.
    fn weight(&mut self, queue: &Queue, pass: Pass) -> Result<Scaled> {
        if let Some(stored) = self.parameter.quantized() {
            return Ok(stored);
        }
        let dtype = self.parameter.spec().precision.working.unwrap_or(DType::F32);
        let weight = self.parameter.weight(queue, dtype)?;
        self.weight.quantize(queue, &weight, pass)
    }

    /// a b^T, both contiguous in the summed dim.
    fn multiply(&self, queue: &Queue, a: &Scaled, b: &Scaled, out: DType) -> Result<Tensor> {
        let [a, b] = [a, b].map(|Scaled { values, scale_inv }| Operand { values, scale_inv });
        match self.is_blocked {
            true => ops::matmul_block_scaled(queue, a, b, self.accumulate, out),
            false => ops::matmul_scaled(queue, a, b, self.accumulate, out),
        }
    }
}

impl Linear for Fp8Linear {
    fn forward(&mut self, queue: &Queue, x: &Tensor, pass: Pass) -> Result<(Tensor, Scaled)> {
        let (rows, kept) = self.input.quantize_and_keep(queue, x, pass)?;
        let weight = self.weight(queue, pass)?;
        Ok((self.multiply(queue, &rows, &weight, self.activations)?, kept))
    }

    fn keep(&mut self, queue: &Queue, x: &Tensor) -> Result<Scaled> {
        Ok(self.input.quantize_and_keep(queue, x, Pass::Recompute)?.1)
    }

    fn output_gradient(&mut self, queue: &Queue, dy: &Tensor) -> Result<OutputGradient> {
        let (rows, kept) = self.output_gradient.quantize_and_keep(queue, dy, Pass::Train)?;
        Ok(OutputGradient { rows, kept })
    }

    fn input_gradient(&mut self, queue: &Queue, dy: &OutputGradient) -> Result<Tensor> {
        let Scaled { values, scale_inv } = self.weight(queue, Pass::Evaluate)?;
        let scale_inv =
            if self.is_blocked { ops::transpose(queue, &scale_inv)? } else { scale_inv };
        let transposed = Scaled { values: ops::transpose(queue, &values)?, scale_inv };
        self.multiply(queue, &dy.rows, &transposed, self.activations)
    }

    fn weight_gradient(&mut self, queue: &Queue, dy: &OutputGradient, x: &Scaled) -> Result<()> {
        let (dy, x) =
            (self.output_gradient.columns(queue, &dy.kept)?, self.input.columns(queue, x)?);
        let dw = self.multiply(queue, &dy, &x, DType::F32)?;
        self.parameter.gradient_mut().add(queue, dw)
    }

    fn parameter(&self) -> &Parameter {
        &self.parameter
    }

    fn parameter_mut(&mut self) -> &mut Parameter {
        &mut self.parameter
    }

    fn quantizers(&mut self) -> Vec<(Kind, &mut Quantizer)> {
        vec![
            (Kind::Input, &mut self.input),
            (Kind::Weight, &mut self.weight),
            (Kind::OutputGradient, &mut self.output_gradient),
        ]
    }
}
