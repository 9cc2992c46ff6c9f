//! What ranks send one another: every message has its receiver, and nobody waits for good.

use std::collections::{BTreeSet, VecDeque};

use super::{super::*, shapes};

/// The result of a stage with a micro-batch, its output or the gradient of its input, on its way to another rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    from: usize,
    to: usize,
    gradient: bool,
    stage: usize,
    micro_batch: usize,
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

/// Even if nothing is kept for a receiver who is not there yet: a rank has one queue of sends and one of receives, in
/// which each waits for the other side, beside its computations.
#[test]
fn a_send_may_wait_for_its_receiver() {
    for (schedule, shape) in shapes() {
        let program = schedule.program(shape).unwrap();
        let mut run = Rendezvous::new(&program);
        while run.round() {}
        assert_eq!(run.left(), 0, "{schedule}, {shape:?}: {run:?}");
    }
}

/// A program where a message moves once it is first in its sender's queue and in its receiver's.
#[derive(Debug)]
struct Rendezvous<'a> {
    program: &'a Program,
    done: Vec<usize>,
    /// What has been made and not yet taken.
    sends: Vec<VecDeque<Message>>,
    receives: Vec<VecDeque<Message>>,
    arrived: BTreeSet<Message>,
}

impl<'a> Rendezvous<'a> {
    fn new(program: &'a Program) -> Self {
        let (done, sends) = (vec![0; program.ranks()], vec![VecDeque::new(); program.ranks()]);
        let receives = receives(program);
        Self { program, done, sends, receives, arrived: BTreeSet::new() }
    }

    fn round(&mut self) -> bool {
        let ranks = 0..self.program.ranks();
        ranks.fold(false, |moved, rank| self.compute(rank) | self.deliver(rank) | moved)
    }

    fn compute(&mut self, rank: usize) -> bool {
        let Some(&step) = self.program.steps(rank).get(self.done[rank]) else { return false };
        let mut takes = step.tasks().filter_map(|task| received(self.program, rank, task));
        if !takes.all(|message| self.arrived.contains(&message)) {
            return false;
        }
        let makes = step.tasks().filter_map(|task| sent(self.program, rank, task));
        self.sends[rank].extend(makes);
        self.done[rank] += 1;
        true
    }

    fn deliver(&mut self, from: usize) -> bool {
        let Some(&message) = self.sends[from].front() else { return false };
        if self.receives[message.to].front() != Some(&message) {
            return false;
        }
        self.sends[from].pop_front();
        self.receives[message.to].pop_front();
        self.arrived.insert(message)
    }

    fn left(&self) -> usize {
        let steps = (0..self.program.ranks()).map(|rank| self.program.steps(rank).len());
        let messages = self.sends.iter().chain(&self.receives).map(VecDeque::len).sum::<usize>();
        steps.sum::<usize>() - self.done.iter().sum::<usize>() + messages
    }
}

/// What every rank receives, in the order in which it asks: for a task, all that its source sent it up to then.
fn receives(program: &Program) -> Vec<VecDeque<Message>> {
    let ranks = program.ranks();
    let sends = all(program, sent);
    let receives = |rank| {
        let between = |from| {
            let sends: &Vec<Message> = &sends[from];
            sends.iter().copied().filter(|message| message.to == rank).collect::<VecDeque<_>>()
        };
        let mut coming: Vec<_> = (0..ranks).map(between).collect();
        let mut asked = VecDeque::new();
        for message in program.tasks(rank).filter_map(|task| received(program, rank, task)) {
            while !asked.contains(&message) {
                asked.push_back(coming[message.from].pop_front().unwrap());
            }
        }
        asked
    };
    (0..ranks).map(receives).collect()
}

/// All messages of a program, by rank and in the order of its tasks.
fn all(program: &Program, of: fn(&Program, usize, Task) -> Option<Message>) -> Vec<Vec<Message>> {
    let messages = |rank| program.tasks(rank).filter_map(|task| of(program, rank, task)).collect();
    (0..program.ranks()).map(messages).collect()
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
