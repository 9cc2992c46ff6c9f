//! The last cast of a gradient: under its own scale, or under one that ranks agree on.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops::{self as ops, ScaleRule, StochasticStream};

use crate::{Meter, stored::fp_max};

/// A cast that is still to be made, with all that it takes.
#[derive(Debug)]
pub struct GradientCast {
    /// The gradient, F32.
    pub(crate) gradient: Tensor,
    pub(crate) values: Tensor,
    pub(crate) rule: ScaleRule,
    pub(crate) head: Tensor,
    pub(crate) scale: Tensor,
    pub(crate) scale_inv: Tensor,
    pub(crate) meter: Meter,
    pub(crate) largest: Tensor,
    /// What it is rounded by, unless to the nearest, and the first word's number.
    pub(crate) words: Option<(StochasticStream, u64)>,
}

impl GradientCast {
    /// What is cast, F32.
    pub fn gradient(&self) -> &Tensor {
        &self.gradient
    }

    /// The gradient's amax, F32 `[1]`, into `amax`.
    pub fn amax(&self, queue: &Queue, amax: &Tensor) -> Result<()> {
        ops::amax(queue, &self.gradient, amax)
    }

    /// Casts under the scale that follows from `amax`, F32 `[1]`: the gradient's own, or the largest of all ranks'.
    pub fn run(&self, queue: &Queue, amax: &Tensor) -> Result<()> {
        let Self { gradient, values, rule, head, scale, scale_inv, .. } = self;
        let max = fp_max(values.dtype());
        ops::scale_from_amax(queue, amax, head, max, *rule, scale, scale_inv)?;
        let Meter { amax, counts, .. } = &self.meter;
        match self.words {
            None => ops::quantize(queue, gradient, scale, values, amax, counts),
            Some(words) => {
                ops::quantize_stochastic(queue, gradient, scale, values, amax, counts, words)
            }
        }
    }

    /// The codes, E4M3 or E5M2, and after a sum over ranks those of the sum.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// What multiplied before the cast, F32 `[1]`, and its reciprocal.
    pub fn scales(&self) -> [&Tensor; 2] {
        [&self.scale, &self.scale_inv]
    }

    /// How the scale follows from amax.
    pub fn rule(&self) -> ScaleRule {
        self.rule
    }

    /// Codes of a sum over ranks that are the format's largest, U64 `[1]`.
    pub fn largest(&self) -> &Tensor {
        &self.largest
    }
}
