//! What ranks send one another: every message has its receiver, and nobody waits for good.

use std::collections::BTreeSet;

use super::{super::*, shapes};

/// The result of a stage with a micro-batch: its output, or the gradient of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    from: usize,
    to: usize,
    gradient: bool,
    stage: usize,
    micro_batch: usize,
}

/// What a rank sends after a task, if anything.
fn sent(program: &Program, rank: usize, task: Task) -> Option<Message> {
    let to = program.target(rank, task)?.rank;
    let gradient = task.work != Work::Forward;
    let (stage, micro_batch) = (program.stage(rank, task.chunk), task.micro_batch);
    (to != rank).then_some(Message { from: rank, to, gradient, stage, micro_batch })
}

/// What a rank receives for a task, if anything.
fn received(program: &Program, rank: usize, task: Task) -> Option<Message> {
    let Place { rank: from, chunk } = program.source(rank, task)?;
    let gradient = task.work != Work::Forward;
    let (stage, micro_batch) = (program.stage(from, chunk), task.micro_batch);
    (from != rank).then_some(Message { from, to: rank, gradient, stage, micro_batch })
}

/// All messages of a program, by rank and in the order of its tasks.
fn all(program: &Program, of: fn(&Program, usize, Task) -> Option<Message>) -> Vec<Vec<Message>> {
    let messages = |rank| program.tasks(rank).filter_map(|task| of(program, rank, task)).collect();
    (0..program.ranks()).map(messages).collect()
}

#[test]
fn what_is_sent_is_received_once() {
    for (schedule, shape) in shapes() {
        let program = schedule.program(shape).unwrap();
        let (sends, receives) = (all(&program, sent).concat(), all(&program, received).concat());
        let set: BTreeSet<_> = sends.iter().copied().collect();
        assert_eq!(set.len(), sends.len(), "{schedule}, {shape:?}");
        assert_eq!(sends.len(), receives.len(), "{schedule}, {shape:?}");
        assert_eq!(set, receives.into_iter().collect(), "{schedule}, {shape:?}");
    }
}
