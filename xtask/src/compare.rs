//! Whether two runs are the same, bit for bit: the proof that a change does not alter results.

mod checkpoint;
mod element;
mod metrics;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use anyhow::Result;

/// Compares the metrics of two run folders, and the newest checkpoint step that both have. Whether they are the same.
pub(crate) fn run(a: &Path, b: &Path) -> Result<bool> {
    let comparison = compare(a, b)?;
    println!("{comparison}");
    Ok(comparison.is_identical())
}

/// What two runs have in common, and where they first part.
struct Comparison {
    steps: usize,
    step: Option<String>,
    tensors: usize,
    tensor: Option<String>,
}

fn compare(a: &Path, b: &Path) -> Result<Comparison> {
    let (steps, step) = metrics::compare(a, b)?;
    let (tensors, tensor) = checkpoint::compare(a, b)?;
    Ok(Comparison { steps, step, tensors, tensor })
}

impl Comparison {
    fn is_identical(&self) -> bool {
        self.step.is_none() && self.tensor.is_none()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, tensors, .. } = self;
        match (&self.step, &self.tensor) {
            (None, None) => write!(f, "identical: {steps} steps, {tensors} tensors"),
            (Some(step), None) => {
                write!(f, "different: {step}\nthe checkpoints are identical: {tensors} tensors")
            }
            (None, Some(tensor)) => {
                write!(f, "the metrics are identical: {steps} steps\ndifferent: {tensor}")
            }
            (Some(step), Some(tensor)) => write!(f, "different: {step}\ndifferent: {tensor}"),
        }
    }
}
