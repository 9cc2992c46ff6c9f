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

/// Where a parameter stands among all tensors of a model, whichever ranks have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub index: usize,
    /// Whether this rank tells of its gradient: of ranks with the same one does, of those with shards of it each.
    pub counts: bool,
}

/// The memory that the global norm is computed in.
#[derive(Debug)]
pub(crate) struct Clip {
    /// Of each slot.
    sums: Tensor,
    amaxes: Tensor,
    /// Of this rank's parameters.
    slots: Vec<Slot>,
    outcome: Outcome,
    max_norm: f32,
}

impl Clip {
    /// For parameters in these slots, of so many.
    pub(crate) fn new(queue: &Queue, slots: &[Slot], all: usize, max_norm: f32) -> Result<Self> {
        let outcome = Outcome {
            norm: queue.alloc(DType::F32, 1, SCALES)?,
            factor: queue.alloc(DType::F32, 1, SCALES)?,
            skip: queue.alloc(DType::U32, 1, SCALES)?,
        };
        let zeros = || queue.upload(&vec![0.0f32; all], all, SCALES);
        let (sums, amaxes, slots) = (zeros()?, zeros()?, slots.to_vec());
        Ok(Self { sums, amaxes, slots, outcome, max_norm })
    }

    /// For all tensors of a model.
    pub(crate) fn of_all(queue: &Queue, tensors: usize, max_norm: f32) -> Result<Self> {
        let slots: Vec<_> = (0..tensors).map(|index| Slot { index, counts: true }).collect();
        Self::new(queue, &slots, tensors, max_norm)
    }

    /// The same for other slots, of so many.
    pub(crate) fn over(&self, queue: &Queue, slots: &[Slot], all: usize) -> Result<Self> {
        Self::new(queue, slots, all, self.max_norm)
    }

    /// The norm over all gradients: the canonical sum of the tensors' sums of squares, each canonical, from the rank of
    /// `group` that counts it. Those of shards are added in the order of the group's algorithm.
    pub(crate) fn measure(
        &self,
        queue: &Queue,
        group: &dyn Collectives,
        parameters: &[&mut Parameter],
    ) -> Result<Outcome> {
        // What other ranks have told stands in their slots.
        ops::fill(queue, &self.sums, 0.0)?;
        ops::fill(queue, &self.amaxes, 0.0)?;
        for (parameter, Slot { index, counts }) in parameters.iter().zip(&self.slots) {
            let gradient = parameter.gradient();
            if *counts {
                gradient.sum_squares(queue, &self.sums.element(*index))?;
            }
            queue.copy(gradient.amax(), &self.amaxes.element(*index))?;
        }
        // Of a whole tensor one rank has the value, and the others 0: nothing is rounded.
        group.all_reduce(queue, self.sums.view(), Reduction::Sum)?.wait(queue)?;
        group.all_reduce(queue, self.amaxes.view(), Reduction::Maximum)?.wait(queue)?;
        let Outcome { norm, factor, skip } = &self.outcome;
        ops::clip(queue, &self.sums, &self.amaxes, norm, factor, skip, self.max_norm)?;
        Ok(self.outcome.clone())
    }
}
