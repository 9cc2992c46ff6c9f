//! The global norm, clipping, and the vote on skipping a step.

use fp8lm_device::{Collectives, DType, Queue, Reduction, Result, Tensor};
use fp8lm_ops as ops;
use fp8lm_scaling::{Parameter, SCALES};

/// What became of a step, on the device.
#[derive(Clone, Debug)]
pub struct Outcome {
    norm: Tensor,
    factor: Tensor,
    skip: Tensor,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReading {
    /// The global norm of the gradients before clipping.
    pub norm: f32,
    /// Whether the step was skipped, because a gradient was not finite.
    pub skipped: bool,
}

impl Outcome {
    /// Reads it. Waits for the step.
    pub fn read(&self, queue: &Queue) -> Result<StepReading> {
        let norm = queue.download::<f32>(&self.norm)?[0];
        let skipped = queue.download::<u32>(&self.skip)? != [0];
        Ok(StepReading { norm, skipped })
    }

    /// What gradients are multiplied by, F32 [1].
    pub(crate) fn factor(&self) -> &Tensor {
        &self.factor
    }

    /// Not 0 where the step is skipped, U32 [1].
    pub(crate) fn skip(&self) -> &Tensor {
        &self.skip
    }
}

/// The memory that the global norm is computed in.
#[derive(Debug)]
pub(crate) struct Clip {
    sums: Tensor,
    amaxes: Tensor,
    outcome: Outcome,
    max_norm: f32,
}

impl Clip {
    /// For so many tensors.
    pub(crate) fn new(queue: &Queue, tensors: usize, max_norm: f32) -> Result<Self> {
        let outcome = Outcome {
            norm: queue.alloc(DType::F32, 1, SCALES)?,
            factor: queue.alloc(DType::F32, 1, SCALES)?,
            skip: queue.alloc(DType::U32, 1, SCALES)?,
        };
        let sums = queue.alloc(DType::F32, tensors, SCALES)?;
        let amaxes = queue.alloc(DType::F32, tensors, SCALES)?;
        Ok(Self { sums, amaxes, outcome, max_norm })
    }

    /// The norm over all gradients: the canonical sum of the tensors' canonical sums of squares, each from the rank of
    /// `group` that owns it.
    pub(crate) fn measure(
        &self,
        queue: &Queue,
        group: &dyn Collectives,
        parameters: &[&mut Parameter],
    ) -> Result<Outcome> {
        for (index, parameter) in parameters.iter().enumerate() {
            let (gradient, sum) = (parameter.gradient(), self.sums.element(index));
            match parameter.is_owned() {
                true => gradient.sum_squares(queue, &sum)?,
                false => ops::fill(queue, &sum, 0.0)?,
            }
            queue.copy(gradient.amax(), &self.amaxes.element(index))?;
        }
        if parameters.iter().any(|parameter| !parameter.is_owned()) {
            // Of each sum one rank has the value, and the others 0: nothing is rounded.
            group.all_reduce(queue, self.sums.view(), Reduction::Sum)?.wait(queue)?;
        }
        group.all_reduce(queue, self.amaxes.view(), Reduction::Maximum)?.wait(queue)?;
        let Outcome { norm, factor, skip } = &self.outcome;
        ops::clip(queue, &self.sums, &self.amaxes, norm, factor, skip, self.max_norm)?;
        Ok(self.outcome.clone())
    }
}
