//! What the ranks of a group do together.

use std::{fmt, sync::Arc};

use crate::{Event, Label, LinkError, Queue, Result, View};

/// Operations of a group of ranks, each of which has its own end of it.
///
/// Every rank calls the same ones in the same order. Each call starts behind the work that is enqueued on `queue`, runs
/// beside what follows there, and returns before it is done: [`Pending::wait`] orders later work behind it. All work in
/// place.
pub trait Collectives: fmt::Debug + Send + Sync {
    /// The place of this rank in the group, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// `x`, of one length on all ranks, becomes the reduction of all ranks' `x`, with the same bits on each.
    fn all_reduce(&self, queue: &Queue, x: &View, reduction: Reduction) -> Result<Pending>;

    /// `parts[r]` is what this rank adds to rank r's result, of any length, but of one on all ranks. This rank's own
    /// becomes the reduction; what the others hold afterwards is undefined.
    fn reduce_scatter(
        &self,
        queue: &Queue,
        parts: &[View],
        reduction: Reduction,
    ) -> Result<Pending>;

    /// `parts[r]` becomes what rank r holds in its own, of any length, but of one on all ranks. There may be several
    /// views for each rank, which travel together: number i is for rank i mod size.
    fn all_gather(&self, queue: &Queue, parts: &[View]) -> Result<Pending>;

    /// `receives[r]` becomes what rank r sends to this one: its `sends`, at this rank's place. Both sides have the same
    /// length, which may be 0. There may be several views for each rank, as in [`all_gather`](Self::all_gather).
    fn all_to_all(&self, queue: &Queue, sends: &[View], receives: &[View]) -> Result<Pending>;

    /// `x` becomes what rank `root` holds in it.
    fn broadcast(&self, queue: &Queue, x: &View, root: usize) -> Result<Pending>;

    /// The same group, its traffic counted under `label`.
    fn labelled(&self, label: Label) -> Arc<dyn Collectives>;

    /// The group of `members`, ranks of this one in the order of their new ranks. Every rank of this group calls it at
    /// the same time, each with the group that it is in.
    fn split(&self, members: &[usize]) -> Result<Arc<dyn Collectives>>;

    /// Ends the group's work: calls that wait, on any rank, and all later ones fail with `error`, unless another came
    /// first.
    fn abort(&self, error: LinkError);
}

/// How values of several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum = 0,
    /// Their product.
    Product = 1,
    /// The smallest; NaN loses to a number, -0 is below +0.
    Minimum = 2,
    /// The largest; NaN loses to a number, -0 is below +0.
    Maximum = 3,
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reduction::Sum => "sum",
            Reduction::Product => "product",
            Reduction::Minimum => "minimum",
            Reduction::Maximum => "maximum",
        })
    }
}

/// A collective that was started. It owns what it works on until somebody waits for it.
#[derive(Debug)]
#[must_use = "what it works on must not be touched before it is waited for"]
pub struct Pending {
    event: Option<Event>,
    views: Vec<View>,
}

impl Pending {
    /// One that is done when `event` has happened, and works on `views`.
    pub fn new(event: Event, views: Vec<View>) -> Self {
        Self { event: Some(event), views }
    }

    /// One that had nothing to do.
    pub fn done() -> Self {
        Self { event: None, views: Vec::new() }
    }

    /// What it works on.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Work that is enqueued on `queue` from now on starts when it is done.
    pub fn wait(self, queue: &Queue) -> Result<()> {
        self.event.map_or(Ok(()), |event| queue.wait(&event))
    }
}

/// A group of one rank, which has everything already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alone;

impl Collectives for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_reduce(&self, _: &Queue, _: &View, _: Reduction) -> Result<Pending> {
        Ok(Pending::done())
    }

    fn reduce_scatter(&self, _: &Queue, _: &[View], _: Reduction) -> Result<Pending> {
        Ok(Pending::done())
    }

    fn all_gather(&self, _: &Queue, _: &[View]) -> Result<Pending> {
        Ok(Pending::done())
    }

    fn all_to_all(&self, queue: &Queue, sends: &[View], receives: &[View]) -> Result<Pending> {
        for (from, to) in sends.iter().zip(receives) {
            queue.copy_view(from, to)?;
        }
        Ok(Pending::done())
    }

    fn broadcast(&self, _: &Queue, _: &View, _: usize) -> Result<Pending> {
        Ok(Pending::done())
    }

    fn labelled(&self, _: Label) -> Arc<dyn Collectives> {
        Arc::new(Self)
    }

    fn split(&self, _: &[usize]) -> Result<Arc<dyn Collectives>> {
        Ok(Arc::new(Self))
    }

    /// Nobody waits.
    fn abort(&self, _: LinkError) {}
}
