//! What a rank computes at one of its stages.

use fp8lm_device::{Queue, Result, Tensor};

use super::{Task, Work};

/// A stage of a model: all that lies between two borders at which activations are handed on.
///
/// Work is enqueued on `queue`. Nothing writes to a result once it was returned. Micro-batches come to each kind of
/// work in ascending order; a stage keeps of each what its gradients will need.
pub trait Stage {
    /// The output, or none from the last stage. `x` is the output of the stage before, or none at the first.
    fn forward(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        x: Option<Tensor>,
    ) -> Result<Option<Tensor>>;

    /// Both gradients: adds to that of the weights, and returns that of the input, or none from the first stage. `dy`
    /// is the gradient of the output, or none at the last stage.
    fn backward(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>>;

    /// As [`backward`](Self::backward), but leaves the gradient of the weights for later.
    fn input_gradient(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>>;

    /// Adds to the gradient of the weights, some time after that of the input.
    fn weight_gradient(&mut self, queue: &Queue, micro_batch: usize) -> Result<()>;
}

/// Does the task's work at its stage, with what came for it.
pub(super) fn perform(
    stage: &mut dyn Stage,
    queue: &Queue,
    task: Task,
    input: Option<Tensor>,
) -> Result<Option<Tensor>> {
    let micro_batch = task.micro_batch;
    match task.work {
        Work::Forward => stage.forward(queue, micro_batch, input),
        Work::Backward => stage.backward(queue, micro_batch, input),
        Work::InputGradient => stage.input_gradient(queue, micro_batch, input),
        Work::WeightGradient => stage.weight_gradient(queue, micro_batch).map(|()| None),
    }
}
