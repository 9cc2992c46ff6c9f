//! ZB-H1, also ZB1P (Qi et al., arXiv 2401.10241): 1F1B with the backward pass in two.
//!
//! Only the gradient of the input is waited for. Rank r runs 1F1B with input gradients alone for its first r
//! micro-batches, so that gradients travel faster; from then on the weight gradient of a micro-batch comes r input
//! gradients after its own. What was put off fills the end, when nothing else is left to do.
//!
//! Published bubble: (P - 1)(F + B - 2W). That supposes that there is enough to fill in: W no more than a forward pass
//! or an input gradient. In general, for m >= P, it is (P - 1)(F + B - W - min(W, F, B - W)). A rank is P - 1 - r
//! forward passes ahead and r weight gradients behind: every one holds min(P, m) activations, which is 1F1B's most.

use super::{Definition, PipelineShape, Schedule, Step, one_chunk, straight};
use crate::pipeline::{Costs, Task, Work};

pub(super) const DEFINITION: Definition = Definition {
    name: "zb-h1",
    about: "1f1b with weight gradients put off to the end",
    replicas: 1,
    check: |shape| one_chunk(Schedule::ZbH1, shape),
    paths: straight,
    steps,
    bubble,
    exact: |shape, _| shape.micro_batches >= shape.ranks,
    peak_activations: |shape, _| shape.ranks.min(shape.micro_batches),
};

fn bubble(shape: PipelineShape, costs: Costs) -> f64 {
    let Costs { forward, backward, weight, .. } = costs;
    let filled = weight.min(forward).min(backward - weight);
    (shape.ranks - 1) as f64 * (forward + backward - weight - filled)
}

fn steps(shape: PipelineShape, rank: usize) -> Vec<Step> {
    let micro_batches = shape.micro_batches;
    let (ahead, behind) = ((shape.ranks - 1 - rank).min(micro_batches), rank.min(micro_batches));
    let task = |work, micro_batch| Step::One(Task::new(work, 0, micro_batch));
    let mut steps: Vec<_> = (0..ahead).map(|next| task(Work::Forward, next)).collect();
    for micro_batch in 0..micro_batches {
        if micro_batch + ahead < micro_batches {
            steps.push(task(Work::Forward, micro_batch + ahead));
        }
        steps.push(task(Work::InputGradient, micro_batch));
        if micro_batch >= behind {
            steps.push(task(Work::WeightGradient, micro_batch - behind));
        }
    }
    let rest = micro_batches - behind..micro_batches;
    steps.extend(rest.map(|micro_batch| task(Work::WeightGradient, micro_batch)));
    steps
}
