//! A linear on FP8 operands.
//!
//! Hopper multiplies FP8 matrices only if both are contiguous in the summed dim, so inputs and
//! output gradients are wanted in both layouts, and weights are transposed, code by code and block
//! by block, for the input gradient.

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, Accumulate, Operand};
use fp8lm_scaling::{Casts, Granularity, Parameter, Pass, Quantizer, Scaled};

use super::{Kind, Linear, OutputGradient};
use crate::Border;

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
    border: Border,
}

impl Fp8Linear {
    /// A linear with this weight and these casts, whose results are of type `activations`.
    ///
    /// Of one that members share the weight is this member's, and what is cast differs between members only where they
    /// agree on its scale.
    pub fn new(
        queue: &Queue,
        parameter: Parameter,
        casts: Casts,
        activations: DType,
        border: Border,
    ) -> Result<Self> {
        let quantizer = |cast, differs: bool| -> Result<Quantizer> {
            let quantizer = Quantizer::new(queue, cast)?;
            Ok(if differs { quantizer.over(&**border.split.group()) } else { quantizer })
        };
        let input = quantizer(casts.input, border.has_own_input())?;
        Ok(Self {
            parameter,
            input: if border.gathers_input() { input.keep_rows() } else { input },
            weight: quantizer(casts.weight, true)?,
            output_gradient: quantizer(casts.output_gradient, border.has_own_output_gradient())?,
            accumulate: casts.accumulate,
            is_blocked: casts.weight.granularity != Granularity::Tensor,
            activations,
            border,
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
        let rows = self.border.enter_cast(queue, rows, self.is_blocked)?;
        let weight = self.weight(queue, pass)?;
        let y = self.multiply(queue, &rows, &weight, self.activations)?;
        Ok((self.border.leave(queue, y)?, kept))
    }

    fn keep(&mut self, queue: &Queue, x: &Tensor) -> Result<Scaled> {
        Ok(self.input.quantize_and_keep(queue, x, Pass::Recompute)?.1)
    }

    fn output_gradient(&mut self, queue: &Queue, dy: &Tensor) -> Result<OutputGradient> {
        let dy = self.border.enter_backward(queue, dy)?;
        let (rows, kept) = self.output_gradient.quantize_and_keep(queue, &dy, Pass::Train)?;
        Ok(OutputGradient { rows, kept })
    }

    fn input_gradient(&mut self, queue: &Queue, dy: &OutputGradient) -> Result<Tensor> {
        let Scaled { values, scale_inv } = self.weight(queue, Pass::Evaluate)?;
        let scale_inv =
            if self.is_blocked { ops::transpose(queue, &scale_inv)? } else { scale_inv };
        let transposed = Scaled { values: ops::transpose(queue, &values)?, scale_inv };
        let dx = self.multiply(queue, &dy.rows, &transposed, self.activations)?;
        self.border.leave_backward(queue, dx)
    }

    fn weight_gradient(&mut self, queue: &Queue, dy: &OutputGradient, x: &Scaled) -> Result<()> {
        let dy = self.output_gradient.columns(queue, &dy.kept)?;
        let x = self.border.enter_cast(queue, x.clone(), self.is_blocked)?;
        let x = self.input.columns(queue, &x)?;
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
