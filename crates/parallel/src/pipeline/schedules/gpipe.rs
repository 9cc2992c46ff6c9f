//! GPipe (Huang et al., arXiv 1811.06965): all forward passes, then all backward passes.
//!
//! The plainest schedule. Every rank waits (P - 1) F for its first micro-batch or for the gradients of the ranks behind
//! it, and (P - 1) B likewise on the way back: bubble (P - 1)(F + B), however many micro-batches there are. It holds
//! the activations of all of them.

use super::{Definition, PipelineShape, Schedule, Step, one_chunk, straight};
use crate::pipeline::{Task, Work};

pub(super) const DEFINITION: Definition = Definition {
    name: "gpipe",
    about: "all forward passes, then all backward passes",
    replicas: 1,
    check: |shape| one_chunk(Schedule::Gpipe, shape),
    paths: straight,
    steps,
    bubble: |shape, costs| (shape.ranks - 1) as f64 * (costs.forward + costs.backward),
    exact: |_, _| true,
    peak_activations: |shape, _| shape.micro_batches,
};

fn steps(shape: PipelineShape, _: usize) -> Vec<Step> {
    let all = |work| {
        (0..shape.micro_batches).map(move |micro_batch| Step::One(Task::new(work, 0, micro_batch)))
    };
    all(Work::Forward).chain(all(Work::Backward)).collect()
}
