//! What a rank of a pipeline does at a time: one task, or two that overlap.

use std::fmt;

/// What is done with a micro-batch at a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// The forward pass: takes the output of the stage before, and keeps activations.
    Forward,
    /// Both gradients at once: takes the gradient of the output, and drops the activations.
    Backward,
    /// The gradient of the input alone: what the stage before waits for.
    InputGradient,
    /// The gradient of the weights, some time after that of the input; drops the activations.
    WeightGradient,
}

/// Some work on one micro-batch at one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    /// What is done.
    pub work: Work,
    /// At which of the rank's stages, from 0.
    pub chunk: usize,
    /// With which micro-batch of the step, from 0.
    pub micro_batch: usize,
}

/// What a rank does before it looks at anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// One task.
    One(Task),
    /// A forward pass and a backward pass that need nothing of one another: each may compute while the other
    /// communicates. They may as well be done one after the other.
    Overlapped {
        /// The forward pass.
        forward: Task,
        /// The backward pass, of both gradients.
        backward: Task,
    },
}

impl Work {
    /// Whether it makes the gradient of the input.
    pub fn makes_input_gradient(self) -> bool {
        matches!(self, Self::Backward | Self::InputGradient)
    }

    /// Whether it makes the gradient of the weights, after which no activation of the micro-batch is needed.
    pub fn makes_weight_gradient(self) -> bool {
        matches!(self, Self::Backward | Self::WeightGradient)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        })
    }
}

impl Task {
    /// Some work on a micro-batch at a chunk.
    pub fn new(work: Work, chunk: usize, micro_batch: usize) -> Self {
        Self { work, chunk, micro_batch }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of micro-batch {} at chunk {}", self.work, self.micro_batch, self.chunk)
    }
}

impl Step {
    /// Its tasks, the forward pass first.
    pub fn tasks(self) -> impl Iterator<Item = Task> {
        let (first, second) = match self {
            Self::One(task) => (task, None),
            Self::Overlapped { forward, backward } => (forward, Some(backward)),
        };
        [first].into_iter().chain(second)
    }
}
