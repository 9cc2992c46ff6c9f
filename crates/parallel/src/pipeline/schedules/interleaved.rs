//! Interleaved 1F1B (Narayanan et al., arXiv 2104.04473): every rank has several short stages in place of one.
//!
//! Stage s of P v is chunk s / P of rank s mod P, so a micro-batch goes round all ranks v times. They come in groups of
//! P: a rank takes one group through its first chunk, then through the second, until the first micro-batch is back with
//! it; backward passes likewise, from the last chunk. What a rank waits for at either end is one round of chunks, of 1
//! / v the cost: bubble (P - 1)(F + B) / v. The price is v times the messages, and activations: rank r runs 2 (P - 1 -
//! r) + (v - 1) P forward passes ahead, and holds one more, each of 1 / v of a stage.

use super::{
    CHUNKS, Definition, MICRO_BATCHES, PipelineShape, Schedule, Step, at_least, multiple_of,
};
use crate::{
    Result,
    pipeline::{Place, Task, Work},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "interleaved",
    about: "1f1b with several short stages a rank",
    replicas: 1,
    check,
    paths,
    steps,
    bubble: |shape, costs| {
        (shape.ranks - 1) as f64 * (costs.forward + costs.backward) / shape.chunks as f64
    },
    exact: |_, _| true,
    peak_activations: |shape, rank| {
        (ahead(shape, rank) + 1).min(shape.micro_batches * shape.chunks)
    },
};

fn check(shape: PipelineShape) -> Result<()> {
    at_least(Schedule::Interleaved, CHUNKS, shape.chunks, 2)?;
    multiple_of(Schedule::Interleaved, MICRO_BATCHES, shape.micro_batches, shape.ranks)
}

fn paths(shape: PipelineShape) -> Vec<Vec<Place>> {
    let round = |chunk| (0..shape.ranks).map(move |rank| Place { rank, chunk });
    vec![(0..shape.chunks).flat_map(round).collect()]
}

fn steps(shape: PipelineShape, rank: usize) -> Vec<Step> {
    let passes = shape.micro_batches * shape.chunks;
    let ahead = ahead(shape, rank).min(passes);
    let mut steps: Vec<_> = (0..ahead).map(|pass| forward(shape, pass)).collect();
    for pass in 0..passes {
        if pass + ahead < passes {
            steps.push(forward(shape, pass + ahead));
        }
        steps.push(backward(shape, pass));
    }
    steps
}

/// Forward passes of a rank before its first backward pass, but for the one that it then takes turns with.
fn ahead(shape: PipelineShape, rank: usize) -> usize {
    2 * (shape.ranks - 1 - rank) + (shape.chunks - 1) * shape.ranks
}

fn forward(shape: PipelineShape, pass: usize) -> Step {
    let (chunk, micro_batch) = at(shape, pass);
    Step::One(Task::new(Work::Forward, chunk, micro_batch))
}

fn backward(shape: PipelineShape, pass: usize) -> Step {
    let (chunk, micro_batch) = at(shape, pass);
    Step::One(Task::new(Work::Backward, shape.chunks - 1 - chunk, micro_batch))
}

/// Round and micro-batch of a rank's n-th pass: P micro-batches a round, v rounds a group.
fn at(shape: PipelineShape, pass: usize) -> (usize, usize) {
    let (ranks, chunks) = (shape.ranks, shape.chunks);
    let (group, round) = (pass / (ranks * chunks), pass / ranks % chunks);
    (round, group * ranks + pass % ranks)
}
