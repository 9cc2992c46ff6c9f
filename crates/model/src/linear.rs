//! A linear layer: y = x W^T, its input gradient and its weight gradient, each a call of its own.

use std::fmt::Debug;

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_scaling::{Gemm, Parameter, Pass, Quantizer, Scaled};

use crate::Border;

mod fp8;
mod plain;

pub use fp8::Fp8Linear;
pub use plain::PlainLinear;
pub(crate) use plain::{plain_forward, plain_input_gradient, plain_weight_gradient};

/// A linear layer without a bias. Weights are [out, in].
///
/// Of a linear that members share ([`Border`]) x and dx have the own rows or the own inputs, y and dy the own outputs
/// or the own rows.
pub trait Linear: Debug + Send {
    /// y [tokens, out] of x [tokens, in], and what is kept of x for the weight gradient.
    fn forward(&mut self, queue: &Queue, x: &Tensor, pass: Pass) -> Result<(Tensor, Scaled)>;

    /// What [`forward`](Self::forward) kept of x, made again, without a trace in histories and counters.
    fn keep(&mut self, queue: &Queue, x: &Tensor) -> Result<Scaled>;

    /// dy [tokens, out] as the two gradients take it.
    fn output_gradient(&mut self, queue: &Queue, dy: &Tensor) -> Result<OutputGradient>;

    /// dx [tokens, in] = dy W.
    fn input_gradient(&mut self, queue: &Queue, dy: &OutputGradient) -> Result<Tensor>;

    /// Adds dy^T x to the weight's gradient.
    fn weight_gradient(&mut self, queue: &Queue, dy: &OutputGradient, x: &Scaled) -> Result<()>;

    /// The weight.
    fn parameter(&self) -> &Parameter;

    /// The weight, to step.
    fn parameter_mut(&mut self) -> &mut Parameter;

    /// The casts that it makes; none if it computes in higher precision.
    fn quantizers(&mut self) -> Vec<(Kind, &mut Quantizer)>;
}

/// The gradient of a linear's output.
#[derive(Clone, Debug)]
pub struct OutputGradient {
    /// As the input gradient takes it.
    pub rows: Scaled,
    /// What the weight gradient takes: FP8 codes [out, tokens], or what they are made from.
    pub kept: Scaled,
}

/// What a cast is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A linear's input.
    Input,
    /// Its weight.
    Weight,
    /// The gradient of its output.
    OutputGradient,
}

impl Kind {
    /// Its name in states and reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::Weight => "weight",
            Kind::OutputGradient => "output_gradient",
        }
    }
}

/// The linear that the parameter's precision asks for.
pub(crate) fn linear(
    queue: &Queue,
    parameter: Parameter,
    activations: DType,
    border: Border,
) -> Result<Box<dyn Linear>> {
    Ok(match parameter.spec().precision.gemm {
        Gemm::Plain => Box::new(PlainLinear::new(queue, parameter, border)?),
        Gemm::Fp8(casts) => Box::new(Fp8Linear::new(queue, parameter, casts, activations, border)?),
    })
}
