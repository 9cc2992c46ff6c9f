//! The eight phases that DualPipe and DualPipeV share.

use std::collections::VecDeque;

use super::Step;
use crate::pipeline::{Task, Work};

/// What rank `rank` of the `half` from an end to the turning point does with `count` micro-batches that come from this
/// end, chunk 0, and as many from the other, chunk 1. Each task is handed to `place`, which says whose it is.
///
/// With d = half - 1 - rank, the distance to the turning point:
///
/// 1. 2d forward passes from this end, until something arrives from the other
/// 2. rank + 1 forward passes from both ends in turns
/// 3. d times: an input gradient and a weight gradient from the other end, then a forward pass from there
/// 4. count - 2 half + rank + 1 times: forward passes over backward passes, from either end; the ranks at the turning
///    point do the first two one after the other, so that the gradient leaves sooner
/// 5. d times: the same for forward passes from the other end, with backward passes from there alone
/// 6. rank + 1 backward passes from both ends in turns, the last rank + 1 of them without weight gradients
/// 7. d times: the weight gradient that waits longest, then an input gradient from this end
/// 8. rank + 1 weight gradients
pub(super) fn phases(
    half: usize,
    rank: usize,
    count: usize,
    place: impl Fn(&mut Task),
) -> Vec<Step> {
    let mut run = Run::new(place);
    let distance = half - 1 - rank;
    run.repeat(2 * distance, |run| run.forward(0));
    run.repeat(rank + 1, |run| {
        run.forward(0);
        run.forward(1);
    });
    run.repeat(distance, |run| {
        run.input_gradient(1);
        run.weight_gradient();
        run.forward(1);
    });
    if distance == 0 {
        run.forward(0);
        run.backward(1);
    } else {
        run.overlapped(0, 1);
    }
    run.overlapped(1, 0);
    run.repeat(count + rank - 2 * half, |run| {
        run.overlapped(0, 1);
        run.overlapped(1, 0);
    });
    run.repeat(distance, |run| {
        run.backward(1);
        run.overlapped(1, 0);
    });
    let both: [fn(&mut _, usize); 2] = [Run::backward, Run::input_gradient];
    for pass in 0..2 * (rank + 1) {
        both[pass / (rank + 1)](&mut run, 1 - pass % 2);
    }
    run.repeat(distance, |run| {
        run.weight_gradient();
        run.input_gradient(0);
    });
    run.repeat(rank + 1, Run::weight_gradient);
    run.steps
}

/// Steps that come to be, and what of each direction comes next.
struct Run<P> {
    place: P,
    steps: Vec<Step>,
    forwards: [usize; 2],
    backwards: [usize; 2],
    /// Weight gradients that were put off.
    waiting: VecDeque<Task>,
}

impl<P: Fn(&mut Task)> Run<P> {
    fn new(place: P) -> Self {
        let (forwards, backwards) = ([0; 2], [0; 2]);
        Self { place, steps: Vec::new(), forwards, backwards, waiting: VecDeque::new() }
    }

    fn repeat(&mut self, times: usize, body: impl Fn(&mut Self)) {
        (0..times).for_each(|_| body(self));
    }

    fn forward(&mut self, chunk: usize) {
        let task = self.next_forward(chunk);
        self.steps.push(Step::One(task));
    }

    fn backward(&mut self, chunk: usize) {
        let task = self.next_backward(Work::Backward, chunk);
        self.steps.push(Step::One(task));
    }

    fn input_gradient(&mut self, chunk: usize) {
        let task = self.next_backward(Work::InputGradient, chunk);
        self.steps.push(Step::One(task));
        self.waiting.push_back(Task { work: Work::WeightGradient, ..task });
    }

    fn weight_gradient(&mut self) {
        self.steps.extend(self.waiting.pop_front().map(Step::One));
    }

    fn overlapped(&mut self, forward: usize, backward: usize) {
        let forward = self.next_forward(forward);
        let backward = self.next_backward(Work::Backward, backward);
        self.steps.push(Step::Overlapped { forward, backward });
    }

    fn next_forward(&mut self, chunk: usize) -> Task {
        self.forwards[chunk] += 1;
        self.task(Work::Forward, chunk, self.forwards[chunk] - 1)
    }

    fn next_backward(&mut self, work: Work, chunk: usize) -> Task {
        self.backwards[chunk] += 1;
        self.task(work, chunk, self.backwards[chunk] - 1)
    }

    fn task(&self, work: Work, chunk: usize, micro_batch: usize) -> Task {
        let mut task = Task::new(work, chunk, micro_batch);
        (self.place)(&mut task);
        task
    }
}
