//! 1F1B (PipeDream-Flush: Narayanan et al., arXiv 2006.09503): one forward pass, one backward pass.
//!
//! Rank r runs P - 1 - r forward passes, so that the first gradient finds the ranks behind it one ahead of one another,
//! then takes turns: a forward pass, a backward pass. The bubble is GPipe's, (P - 1)(F + B); but a rank has no more
//! forward passes ahead than it needs to be busy, and holds min(P - r, m) activations.

use super::{Definition, PipelineShape, Schedule, Step, one_chunk, straight};
use crate::pipeline::{Task, Work};

pub(super) const DEFINITION: Definition = Definition {
    name: "1f1b",
    about: "one forward pass, one backward pass",
    replicas: 1,
    check: |shape| one_chunk(Schedule::OneFOneB, shape),
    paths: straight,
    steps,
    bubble: |shape, costs| (shape.ranks - 1) as f64 * (costs.forward + costs.backward),
    exact: |_, _| true,
    peak_activations: |shape, rank| (shape.ranks - rank).min(shape.micro_batches),
};

fn steps(shape: PipelineShape, rank: usize) -> Vec<Step> {
    let ahead = (shape.ranks - 1 - rank).min(shape.micro_batches);
    let task = |work, micro_batch| Step::One(Task::new(work, 0, micro_batch));
    let mut steps: Vec<_> = (0..ahead).map(|ahead| task(Work::Forward, ahead)).collect();
    for micro_batch in 0..shape.micro_batches {
        let next = micro_batch + ahead;
        if next < shape.micro_batches {
            steps.push(task(Work::Forward, next));
        }
        steps.push(task(Work::Backward, micro_batch));
    }
    steps
}
