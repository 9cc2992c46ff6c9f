//! NCCL's own collectives.

use std::{
    iter::zip,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fp8lm_device::{
    Collectives, DType, Error, Label, Link, LinkError, Pending, Queue, Reduction, Result, Tag,
    View, expect_rank,
};

use super::{
    calls::{Calls, Reducing},
    link::NcclLink,
};
use crate::{device::Lane, memory::Bound};

/// Collectives of a link's ranks, enqueued on one queue. NCCL chooses algorithms, and so the order of sums; minima,
/// maxima and what only moves have the same bits in any.
///
/// What FP8 loses at every hop is for the caller to allow.
#[derive(Clone, Debug)]
pub(super) struct NcclCollectives {
    link: NcclLink,
    queue: Queue,
    begun: Arc<AtomicU64>,
}

impl NcclCollectives {
    pub(super) fn new(link: NcclLink, queue: Queue) -> Self {
        Self { link, queue, begun: Arc::default() }
    }

    /// Later work starts behind that of `queue`.
    fn follow(&self, queue: &Queue) -> Result<()> {
        if self.queue.stream() == queue.stream() {
            return Ok(());
        }
        self.queue.wait(&queue.record()?)
    }

    /// Enqueues NCCL's calls on `views`, as one operation.
    fn run(
        &self,
        call: Call,
        views: &[View],
        calls: impl FnOnce(&Calls<'_>, &[Bound<'_>]) -> nccl_rs::Result<()>,
    ) -> Result<()> {
        let link = &self.link;
        let tag = self.tag(call, views);
        let lane: Arc<Lane> = link.device().lane(call.operation, self.queue.stream())?;
        let bind = |view| link.device().bind(call.operation, &lane, view);
        let bound = views.iter().map(bind).collect::<Result<Vec<_>>>()?;
        if bound.iter().all(|bound| bound.bytes() == 0) {
            return Ok(());
        }
        let operation = link.operation(tag, &link.others());
        link.shared().enqueue(link.comm(), &lane, operation, |on| calls(on, &bound))
    }

    fn pending(&self, views: &[View]) -> Result<Pending> {
        Ok(Pending::new(self.queue.record()?, views.to_vec()))
    }

    /// Views of one length that lie one after the other: `parts` themselves if they do, else new ones. What ranks call
    /// for may depend on lengths, which they have in common, and not on where one of them has its parts.
    fn in_a_row(&self, parts: &[View]) -> Result<Vec<View>> {
        if are_in_a_row(parts) {
            return Ok(parts.to_vec());
        }
        let each = parts[0].elements();
        let row = self.queue.alloc(parts[0].dtype(), each * parts.len(), ROW)?;
        Ok((0..parts.len()).map(|part| row.view().slice(part * each, each)).collect())
    }

    /// Copies what lies elsewhere.
    fn copy(&self, from: &View, to: &View) -> Result<()> {
        match Arc::ptr_eq(from.memory(), to.memory()) && from.offset() == to.offset() {
            true => Ok(()),
            false => self.queue.copy_view(from, to),
        }
    }

    fn tag(&self, call: Call, views: &[View]) -> Tag {
        let Call { operation, reduction } = call;
        let dtype = views.first().map_or(DType::U8, View::dtype);
        let elements = Some(views.iter().map(View::elements).sum());
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        Tag { operation, reduction, dtype, elements, number }
    }

    fn expect_views(&self, operation: &'static str, are_right: bool, views: usize) -> Result<()> {
        if are_right {
            return Ok(());
        }
        let source = format!("{views} views for {} ranks", self.size()).into();
        Err(Error::Failed { operation, source })
    }
}

impl Collectives for NcclCollectives {
    fn rank(&self) -> usize {
        self.link.rank()
    }

    fn size(&self) -> usize {
        self.link.size()
    }

    fn all_reduce(&self, queue: &Queue, x: &View, reduction: Reduction) -> Result<Pending> {
        let call = Call { operation: "all_reduce", reduction: Some(reduction) };
        let how = reducing(call.operation, x.dtype(), reduction)?;
        self.follow(queue)?;
        let x = std::slice::from_ref(x);
        self.run(call, x, |on, x| on.all_reduce(&x[0], how))?;
        self.pending(x)
    }

    /// Parts of one length are one reduce-scatter; others a reduction for each rank.
    fn reduce_scatter(
        &self,
        queue: &Queue,
        parts: &[View],
        reduction: Reduction,
    ) -> Result<Pending> {
        let call = Call { operation: "reduce_scatter", reduction: Some(reduction) };
        let rank = self.rank();
        self.expect_views(call.operation, parts.len() == self.size(), parts.len())?;
        let how = reducing(call.operation, parts[0].dtype(), reduction)?;
        self.follow(queue)?;
        if are_alike(parts) {
            let row = self.in_a_row(parts)?;
            zip(parts, &row).try_for_each(|(part, at)| self.copy(part, at))?;
            self.run(call, &row, |on, row| on.reduce_scatter(row, rank, how))?;
            self.copy(&row[rank], &parts[rank])?;
        } else {
            self.run(call, parts, |on, parts| {
                each(parts, |root, part| on.reduce(part, how, root))
            })?;
        }
        self.pending(parts)
    }

    /// One part of one length for each rank are one all-gather; others a broadcast each.
    fn all_gather(&self, queue: &Queue, parts: &[View]) -> Result<Pending> {
        let call = Call { operation: "all_gather", reduction: None };
        let (rank, ranks) = (self.rank(), self.size());
        self.expect_views(call.operation, parts.len().is_multiple_of(ranks), parts.len())?;
        self.follow(queue)?;
        if parts.len() == ranks && are_alike(parts) {
            let row = self.in_a_row(parts)?;
            self.copy(&parts[rank], &row[rank])?;
            self.run(call, &row, |on, row| on.all_gather(row, rank))?;
            zip(&row, parts).try_for_each(|(at, part)| self.copy(at, part))?;
        } else {
            self.run(call, parts, |on, parts| {
                each(parts, |index, part| on.broadcast(part, index % ranks))
            })?;
        }
        self.pending(parts)
    }

    /// A group of sends and receives.
    fn all_to_all(&self, queue: &Queue, sends: &[View], receives: &[View]) -> Result<Pending> {
        let call = Call { operation: "all_to_all", reduction: None };
        let ranks = self.size();
        let are_paired = sends.len() == receives.len() && sends.len().is_multiple_of(ranks);
        self.expect_views(call.operation, are_paired, sends.len())?;
        self.follow(queue)?;
        let all = [sends, receives].concat();
        self.run(call, &all, |on, all| {
            let (from, to) = all.split_at(sends.len());
            each(from, |index, from| on.send(from, index % ranks))?;
            each(to, |index, to| on.receive(to, index % ranks))
        })?;
        self.pending(&all)
    }

    fn broadcast(&self, queue: &Queue, x: &View, root: usize) -> Result<Pending> {
        let call = Call { operation: "broadcast", reduction: None };
        expect_rank(call.operation, root, self.size())?;
        self.follow(queue)?;
        let x = std::slice::from_ref(x);
        self.run(call, x, |on, x| on.broadcast(&x[0], root))?;
        self.pending(x)
    }

    /// Who counts is the caller.
    fn labelled(&self, _: Label) -> Arc<dyn Collectives> {
        Arc::new(self.clone())
    }

    fn split(&self, members: &[usize]) -> Result<Arc<dyn Collectives>> {
        let link = self.link.split(members)?;
        link.native(&self.queue).ok_or(Error::UnknownHandle { operation: "split" })
    }

    fn abort(&self, error: LinkError) {
        self.link.abort(error);
    }
}

/// What ranks do together.
#[derive(Clone, Copy)]
struct Call {
    operation: &'static str,
    reduction: Option<Reduction>,
}

fn reducing(operation: &'static str, dtype: DType, reduction: Reduction) -> Result<Reducing> {
    let source = || format!("NCCL has no {reduction} of {dtype}").into();
    Reducing::new(dtype, reduction).ok_or_else(|| Error::Failed { operation, source: source() })
}

/// Calls for each part with elements.
fn each(
    parts: &[Bound<'_>],
    call: impl Fn(usize, &Bound<'_>) -> nccl_rs::Result<()>,
) -> nccl_rs::Result<()> {
    let mut parts = parts.iter().enumerate().filter(|(_, part)| part.bytes() > 0);
    parts.try_for_each(|(index, part)| call(index, part))
}

/// Whether parts have one length.
fn are_alike(parts: &[View]) -> bool {
    parts.windows(2).all(|pair| pair[0].bytes() == pair[1].bytes())
}

/// Whether parts of one length lie one after the other in one memory.
fn are_in_a_row(parts: &[View]) -> bool {
    parts.windows(2).all(|pair| {
        Arc::ptr_eq(pair[0].memory(), pair[1].memory())
            && pair[0].offset() + pair[0].bytes() == pair[1].offset()
    })
}

/// Memory in which parts lie one after the other.
const ROW: Label = Label("communication");
