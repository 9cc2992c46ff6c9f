//! What bytes on the wire are for.

use fp8lm_device::Label;

pub use fp8lm_scaling::{GRADIENTS, SCALARS};

/// Gradients in FP8, on their way to being summed.
pub const FP8_GRADIENTS: Label = Label("FP8 gradients");

/// Weights that were stepped by their owner.
pub const WEIGHTS: Label = Label("weights");

/// Activations and their gradients, from one stage of a pipeline to another.
pub const PIPELINE: Label = Label("activations: pipeline");
