//! A linear on FP8 operands.
//!
//! Hopper multiplies FP8 matrices only if both are contiguous in the summed dim, so inputs and
//! output gradients are cast in both layouts at once, and weights are transposed, code by code,
//! for the input gradient.

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, Accumulate, Operand};
use fp8lm_scaling::{Casts, Parameter, Pass, Quantizer, Scaled};

use super::{Kind, Linear, OutputGradient};

/// A linear whose three multiplications take FP8 operands (FP8-LM, section 2).
#[derive(Debug)]
pub struct Fp8Linear {
    parameter: Parameter,
    input: Quantizer,
    weight: Quantizer,
    output_gradient: Quantizer,
    accumulate: Accumulate,
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
        ops::matmul_scaled(queue, a, b, self.accumulate, out)
    }
}

impl Linear for Fp8Linear {
    fn forward(&mut self, queue: &Queue, x: &Tensor, pass: Pass) -> Result<(Tensor, Scaled)> {
        let (rows, cols) = self.input.quantize_transpose(queue, x, pass)?;
        let weight = self.weight(queue, pass)?;
        Ok((self.multiply(queue, &rows, &weight, self.activations)?, cols))
    }

    fn output_gradient(&mut self, queue: &Queue, dy: &Tensor) -> Result<OutputGradient> {
        let (rows, cols) = self.output_gradient.quantize_transpose(queue, dy, Pass::Train)?;
        Ok(OutputGradient { rows, cols })
    }

    fn input_gradient(&mut self, queue: &Queue, dy: &OutputGradient) -> Result<Tensor> {
        let Scaled { values, scale_inv } = self.weight(queue, Pass::Evaluate)?;
        let transposed = Scaled { values: ops::transpose(queue, &values)?, scale_inv };
        self.multiply(queue, &dy.rows, &transposed, self.activations)
    }

    fn weight_gradient(&mut self, queue: &Queue, dy: &OutputGradient, x: &Scaled) -> Result<()> {
        let dw = self.multiply(queue, &dy.cols, x, DType::F32)?;
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
