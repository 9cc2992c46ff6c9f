//! What comes from the other ranks of a pipeline, in the order in which each sends, until it is needed.

use std::collections::{HashMap, VecDeque};

use fp8lm_device::{Queue, Result, Tensor};

use super::{Place, Program, Task, Work, message::Incoming, message::Post};
use crate::Error;

/// For which task of a rank a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    is_gradient: bool,
    chunk: usize,
    micro_batch: usize,
}

/// One rank's inbox, for one run of a program.
#[derive(Debug)]
pub(super) struct Inbox {
    /// What each rank has yet to send, in order.
    expected: Vec<VecDeque<Address>>,
    /// What came before it was needed.
    kept: HashMap<Address, Kept>,
}

#[derive(Debug)]
enum Kept {
    Received(Incoming),
    HandedOver(Tensor),
}

impl Address {
    /// Where the result of `task` goes, at the chunk that takes it.
    pub(super) fn of_result(task: Task, chunk: usize) -> Self {
        Self { chunk, ..Self::of_input(task) }
    }

    /// Whence a task takes its input.
    pub(super) fn of_input(task: Task) -> Self {
        let is_gradient = task.work != Work::Forward;
        Self { is_gradient, chunk: task.chunk, micro_batch: task.micro_batch }
    }
}

impl Inbox {
    /// Of what `rank` gets in a run.
    pub(super) fn new(program: &Program, rank: usize) -> Self {
        let from = |peer| {
            let results = program.tasks(peer).filter_map(move |task| {
                let Place { rank: to, chunk } = program.target(peer, task)?;
                (to == rank && to != peer).then(|| Address::of_result(task, chunk))
            });
            results.collect()
        };
        Self { expected: (0..program.ranks()).map(from).collect(), kept: HashMap::new() }
    }

    /// Takes what a rank hands over to itself.
    pub(super) fn hand_over(&mut self, address: Address, x: Tensor) {
        self.kept.insert(address, Kept::HandedOver(x));
    }

    /// What `task` takes, which comes from rank `from`; receives what was sent before it.
    pub(super) fn take(
        &mut self,
        queue: &Queue,
        post: Option<&Post>,
        from: usize,
        task: Task,
    ) -> Result<Tensor> {
        let address = Address::of_input(task);
        loop {
            match (self.kept.remove(&address), post) {
                (Some(Kept::HandedOver(x)), _) => return Ok(x),
                (Some(Kept::Received(incoming)), Some(post)) => return post.open(queue, incoming),
                _ => {}
            }
            let next = post.and_then(|post| Some((post, self.expected[from].pop_front()?)));
            let (post, next) = next.ok_or_else(|| Error::NotSent { from, task }.of(OPERATION))?;
            self.kept.insert(next, Kept::Received(post.receive(from)?));
        }
    }
}

const OPERATION: &str = "pipeline";

#[cfg(test)]
mod tests;
