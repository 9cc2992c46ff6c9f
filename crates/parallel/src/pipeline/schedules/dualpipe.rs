//! DualPipe (DeepSeek-V3, arXiv 2412.19437, section 3.2.1): micro-batches from both ends, which overlap in the middle.
//!
//! Every rank has two stages: r, for the first half of the micro-batches, which enter at rank 0, and P - 1 - r, for the
//! second half, which enter at rank P - 1. So every stage is on two ranks. In the steady state a forward pass of one
//! direction overlaps a backward pass of the other, and each computes while the other communicates. The ranks of one
//! half do what those of the other half do with directions turned round.
//!
//! Bubble (P/2 - 1)(F&B + B - 3W), published without conditions. It is exact if an input gradient costs as much as a
//! forward pass, and a weight gradient no more: B - W = F >= W. So it is for linears, whose three products are equal.
//! Otherwise a [`Timeline`](super::super::Timeline) tells. It is the most that a rank idles; where F&B < F + B, ranks
//! near the ends overlap fewer passes, and are busy for longer.
//!
//! Every rank holds P + 1 activations, and twice the parameters of other schedules.

use super::{
    Definition, MICRO_BATCHES, PipelineShape, RANKS, Schedule, Step, at_least, multiple_of,
    one_chunk, phases::phases,
};
use crate::{
    Result,
    pipeline::{Costs, Place},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "dualpipe",
    about: "micro-batches from both ends, forward passes over backward passes",
    replicas: 2,
    check,
    paths,
    steps,
    bubble: |shape, costs| bubble(shape.ranks / 2, costs),
    exact: |_, costs| exact(costs),
    peak_activations: |shape, _| shape.ranks + 1,
};

/// The most that a rank idles, `half` ranks to the turning point.
pub(super) fn bubble(half: usize, costs: Costs) -> f64 {
    (half - 1) as f64 * (costs.overlapped + costs.backward - 3.0 * costs.weight)
}

/// Whether it is that: the phases wait for a forward pass and an input gradient by turns, as if they were one.
pub(super) fn exact(costs: Costs) -> bool {
    costs.backward - costs.weight == costs.forward && costs.weight <= costs.forward
}

fn check(shape: PipelineShape) -> Result<()> {
    one_chunk(Schedule::DualPipe, shape)?;
    multiple_of(Schedule::DualPipe, RANKS, shape.ranks, 2)?;
    let least = shape.ranks.saturating_mul(2);
    at_least(Schedule::DualPipe, MICRO_BATCHES, shape.micro_batches, least)?;
    multiple_of(Schedule::DualPipe, MICRO_BATCHES, shape.micro_batches, 2)
}

fn paths(shape: PipelineShape) -> Vec<Vec<Place>> {
    let there = (0..shape.ranks).map(|rank| Place { rank, chunk: 0 });
    let back = (0..shape.ranks).rev().map(|rank| Place { rank, chunk: 1 });
    vec![there.collect(), back.collect()]
}

fn steps(shape: PipelineShape, rank: usize) -> Vec<Step> {
    let (half, count) = (shape.ranks / 2, shape.micro_batches / 2);
    let outer = rank.min(shape.ranks - 1 - rank);
    let far = usize::from(rank >= half);
    phases(half, outer, count, |task| {
        task.chunk ^= far;
        task.micro_batch += task.chunk * count;
    })
}
