//! DualPipeV: DualPipe cut in half, each direction the way back of the other.
//!
//! P / 2 ranks, with stages r and P - 1 - r each. A micro-batch goes down the ranks through the first stages and,
//! turned round at the last rank, up through the second ones. What comes up takes the place of what comes from the
//! other end in DualPipe: the order is that of its first half, with as many micro-batches as go in each direction
//! there.
//!
//! Bubble (P/2 - 1)(F&B + B - 3W) and P + 1 activations, as there and under the same conditions. But every stage is on
//! one rank alone: a rank has two stages of P, as any schedule has that spreads them over P / 2 ranks.

use super::{
    Definition, MICRO_BATCHES, PipelineShape, Schedule, at_least, dualpipe, one_chunk,
    phases::phases,
};
use crate::{Result, pipeline::Place};

pub(super) const DEFINITION: Definition = Definition {
    name: "dualpipe-v",
    about: "dualpipe cut in half: down the ranks and up again",
    replicas: 1,
    check,
    paths,
    steps: |shape, rank| phases(shape.ranks, rank, shape.micro_batches, |_| ()),
    bubble: |shape, costs| dualpipe::bubble(shape.ranks, costs),
    exact: |_, costs| dualpipe::exact(costs),
    peak_activations: |shape, _| 2 * shape.ranks + 1,
};

fn check(shape: PipelineShape) -> Result<()> {
    one_chunk(Schedule::DualPipeV, shape)?;
    let least = shape.ranks.saturating_mul(2);
    at_least(Schedule::DualPipeV, MICRO_BATCHES, shape.micro_batches, least)
}

fn paths(shape: PipelineShape) -> Vec<Vec<Place>> {
    let down = (0..shape.ranks).map(|rank| Place { rank, chunk: 0 });
    let up = (0..shape.ranks).rev().map(|rank| Place { rank, chunk: 1 });
    vec![down.chain(up).collect()]
}
