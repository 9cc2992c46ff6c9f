//! Collectives composed from steps over a link.

use std::sync::{Arc, Mutex, PoisonError};

use fp8lm_device::{
    Collectives, DType, Label, Link, LinkError, Pending, Queue, Reduction, Result, Tag, Tensor,
    View,
};

use crate::{
    Algorithm, Channel, Error, Step, Traffic, Tree,
    algorithms::{all_gather, all_to_all, broadcast, nccl_tree},
    books::Books,
    chunks,
    execute::{COMMUNICATION, Execution},
    step::sent_bytes,
};

/// One rank's end of a group: its link, and one queue on its device for all that the group does.
///
/// Handles that are made from one another share the queue, so all they do on this rank has one order, whatever queues
/// it is called for. Reductions are of F32, BF16, F16, E4M3 and E5M2, by the handle's [`Algorithm`], and sums also of
/// U64, modulo 2^64; all else moves values of any type.
///
/// Where the link has collectives of its own ([`Link::native`]), these do what moves values, and reductions by NCCL's
/// ring or tree, which are then NCCL's own, in the order that it chooses. Sums that are rounded once, halving and trees
/// that the caller gives stay composed, with the same bits over any link.
#[derive(Clone, Debug)]
pub struct Composed {
    group: Arc<Group>,
    books: Arc<Books>,
    algorithm: Algorithm,
    tree: Option<Arc<Tree>>,
    fp8_ring_ranks: usize,
    label: Label,
}

/// What all handles of a group share.
#[derive(Debug)]
struct Group {
    link: Arc<dyn Link>,
    /// The link's own collectives on `queue`, if it has any.
    native: Option<Arc<dyn Collectives>>,
    queue: Queue,
    /// The scale of what is not scaled, F32 `[1]`.
    one: Tensor,
    /// Collectives begun so far. Held while one is enqueued, so that all have one order.
    begun: Mutex<u64>,
}

impl Composed {
    /// This rank's end of the group behind `link`. Its work runs on a stream of its own of `queue`'s device.
    pub fn new(link: Arc<dyn Link>, queue: &Queue, algorithm: Algorithm) -> Result<Self> {
        let queue = queue.fork()?;
        let one = queue.upload(&[1.0f32], 1, COMMUNICATION)?;
        let (group, books) = (Arc::new(Group::new(link, queue, one)), Arc::default());
        let (fp8_ring_ranks, label) = (FP8_RING_RANKS, COMMUNICATION);
        Ok(Self { group, books, algorithm, tree: None, fp8_ring_ranks, label })
    }

    /// The same group, whose reductions go by another algorithm.
    #[must_use]
    pub fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, tree: None, ..self.clone() }
    }

    /// The same group, which sums FP8 by hops over at most so many ranks; [`FP8_RING_RANKS`] unless it is told.
    #[must_use]
    pub fn with_fp8_ring_ranks(&self, most: usize) -> Self {
        Self { fp8_ring_ranks: most, ..self.clone() }
    }

    /// The same group, which all-reduces along a tree, and scatters round a ring, as [`Algorithm::NcclTree`] does.
    ///
    /// # Errors
    /// If the tree is of another number of ranks.
    pub fn with_tree(&self, tree: Tree) -> Checked<Self> {
        let ranks = self.size();
        if tree.size() != ranks {
            return Err(Error::Tree { tree: tree.size(), ranks });
        }
        let algorithm = Algorithm::NcclTree;
        Ok(Self { algorithm, tree: Some(Arc::new(tree)), ..self.clone() })
    }

    /// How its reductions go.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What this rank sent to others, through all handles that were made from one another, since
    /// [`take_traffic`](Self::take_traffic).
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.books.traffic()
    }

    /// As [`traffic`](Self::traffic), and starts again from 0.
    #[must_use]
    pub fn take_traffic(&self) -> Traffic {
        self.books.take()
    }

    /// Messages between `members`, ranks of this group in the order of their new ranks, counted in the same books under
    /// `label`. Every rank of this group calls it at the same time, each with the members that it is among.
    ///
    /// # Errors
    /// If the link fails, or members make no sense.
    pub fn channel(&self, members: &[usize], label: Label) -> Result<Channel> {
        let link = self.group.link.channel(members)?;
        Channel::new(link, &self.group.queue, self.books.clone(), label)
    }

    /// Runs steps over chunks behind the work of `queue`.
    fn run(&self, queue: &Queue, work: &Work<'_>) -> Result<Pending> {
        self.begin(queue, work, |tag| {
            let Group { link, queue, one, .. } = &*self.group;
            let (link, books, label, chunks) = (&**link, &*self.books, self.label, work.chunks);
            Execution { queue, link, one, books, label, tag, chunks }.run(work.steps)
        })
    }

    /// Has the link's own collectives do it in place of steps, behind the work of `queue`. What the steps would send is
    /// counted: how much NCCL sends, it does not say.
    fn hand_over(
        &self,
        queue: &Queue,
        work: &Work<'_>,
        call: impl FnOnce(&Queue) -> Result<Pending>,
    ) -> Result<Pending> {
        self.begin(queue, work, |tag| {
            let bytes = sent_bytes(self.rank(), work.chunks, work.steps);
            self.books.add((self.label, tag.operation), bytes);
            let own = &self.group.queue;
            call(own)?.wait(own)
        })
    }

    /// Enqueues a collective on the group's queue, behind the work of `queue` and whatever was begun before.
    fn begin(
        &self,
        queue: &Queue,
        work: &Work<'_>,
        enqueue: impl FnOnce(Tag) -> Result<()>,
    ) -> Result<Pending> {
        let Some(first) = work.chunks.first() else { return Ok(Pending::done()) };
        let Call { operation, reduction, elements } = work.call;
        let own = &self.group.queue;
        // The count stays right after a panic elsewhere.
        let mut begun = self.group.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = Tag { operation, reduction, dtype: first.dtype(), elements, number: *begun };
        *begun += 1;
        own.wait(&queue.record()?)?;
        enqueue(tag)?;
        Ok(Pending::new(own.record()?, work.chunks.to_vec()))
    }

    /// The link's own collectives, if the handle's algorithm is theirs.
    fn native_reductions(&self) -> Option<&dyn Collectives> {
        let is_theirs = matches!(self.algorithm, Algorithm::NcclRing | Algorithm::NcclTree);
        self.group.native.as_deref().filter(|_| is_theirs && self.tree.is_none())
    }

    fn all_reduce_steps(&self, algorithm: Algorithm) -> Vec<Step> {
        match &self.tree {
            Some(tree) if algorithm == self.algorithm => nccl_tree::steps(self.rank(), tree),
            _ => algorithm.all_reduce(self.rank(), self.size()),
        }
    }

    /// The handle's own, but for counts, whose sum has no roundings.
    fn algorithm_for(&self, dtype: DType, reduction: Reduction) -> Checked<Algorithm> {
        let (ranks, most) = (self.size(), self.fp8_ring_ranks);
        let is_fp8_sum = matches!((dtype, reduction), (DType::E4M3 | DType::E5M2, Reduction::Sum));
        if is_fp8_sum && self.algorithm != Algorithm::RoundOnce && ranks > most {
            return Err(Error::Fp8Ring { algorithm: self.algorithm, dtype, ranks, most });
        }
        match (dtype, reduction) {
            (DType::F32 | DType::BF16 | DType::F16 | DType::E4M3 | DType::E5M2, _) => {
                Ok(self.algorithm)
            }
            (DType::U64, Reduction::Sum) => Ok(Algorithm::RoundOnce),
            _ => Err(Error::Unsupported { reduction, dtype }),
        }
    }

    fn expect_per_rank(&self, views: &[View]) -> Checked<()> {
        let (views, ranks) = (views.len(), self.size());
        if views.is_multiple_of(ranks) { Ok(()) } else { Err(Error::Views { views, ranks }) }
    }
}

impl Collectives for Composed {
    fn rank(&self) -> usize {
        self.group.link.rank()
    }

    fn size(&self) -> usize {
        self.group.link.size()
    }

    fn all_reduce(&self, queue: &Queue, x: &View, reduction: Reduction) -> Result<Pending> {
        let call = Call::new("all_reduce", reduction, x.elements());
        let algorithm = self.algorithm_for(x.dtype(), reduction).map_err(|e| e.of("all_reduce"))?;
        let ranges = chunks(x.elements(), algorithm.chunks(self.size()));
        let chunks: Vec<_> = ranges.iter().map(|range| x.slice(range.start, range.len())).collect();
        let work = Work { call, chunks: &chunks, steps: &self.all_reduce_steps(algorithm) };
        match self.native_reductions() {
            Some(native) => {
                self.hand_over(queue, &work, |own| native.all_reduce(own, x, reduction))
            }
            None => self.run(queue, &work),
        }
    }

    fn reduce_scatter(
        &self,
        queue: &Queue,
        parts: &[View],
        reduction: Reduction,
    ) -> Result<Pending> {
        let call = Call::new("reduce_scatter", reduction, total(parts));
        let check = || {
            if parts.len() != self.size() {
                return Err(Error::Views { views: parts.len(), ranks: self.size() });
            }
            self.algorithm_for(one_type(parts.iter())?, reduction)
        };
        let algorithm = check().map_err(|error| error.of("reduce_scatter"))?;
        let steps = algorithm.reduce_scatter(self.rank(), self.size());
        let work = Work { call, chunks: parts, steps: &steps };
        match self.native_reductions() {
            Some(native) => {
                self.hand_over(queue, &work, |own| native.reduce_scatter(own, parts, reduction))
            }
            None => self.run(queue, &work),
        }
    }

    fn all_gather(&self, queue: &Queue, parts: &[View]) -> Result<Pending> {
        let check = || {
            self.expect_per_rank(parts)?;
            one_type(parts.iter())
        };
        check().map_err(|error| error.of("all_gather"))?;
        let call = Call::moving("all_gather", Some(total(parts)));
        let steps = all_gather::steps(self.rank(), self.size(), parts.len());
        let work = Work { call, chunks: parts, steps: &steps };
        match &self.group.native {
            Some(native) => self.hand_over(queue, &work, |own| native.all_gather(own, parts)),
            None => self.run(queue, &work),
        }
    }

    fn all_to_all(&self, queue: &Queue, sends: &[View], receives: &[View]) -> Result<Pending> {
        let chunks = [sends, receives].concat();
        let check = || {
            if sends.len() != receives.len() {
                let (sends, receives) = (sends.len(), receives.len());
                return Err(Error::Sides { sends, receives });
            }
            self.expect_per_rank(sends)?;
            one_type(chunks.iter())
        };
        check().map_err(|error| error.of("all_to_all"))?;
        let steps = all_to_all::steps(self.size(), sends.len());
        let call = Call::moving("all_to_all", None);
        let work = Work { call, chunks: &chunks, steps: &steps };
        match &self.group.native {
            Some(native) => {
                self.hand_over(queue, &work, |own| native.all_to_all(own, sends, receives))
            }
            None => self.run(queue, &work),
        }
    }

    fn broadcast(&self, queue: &Queue, x: &View, root: usize) -> Result<Pending> {
        let (rank, ranks) = (self.rank(), self.size());
        if root >= ranks {
            return Err(Error::Rank { rank: root, ranks }.of("broadcast"));
        }
        let call = Call::moving("broadcast", Some(x.elements()));
        let steps = broadcast::steps(rank, ranks, root);
        let work = Work { call, chunks: std::slice::from_ref(x), steps: &steps };
        match &self.group.native {
            Some(native) => self.hand_over(queue, &work, |own| native.broadcast(own, x, root)),
            None => self.run(queue, &work),
        }
    }

    fn labelled(&self, label: Label) -> Arc<dyn Collectives> {
        Arc::new(Self { label, ..self.clone() })
    }

    /// The new group counts in the same books, and runs on the same queue. It takes the default tree.
    fn split(&self, members: &[usize]) -> Result<Arc<dyn Collectives>> {
        let link = self.group.link.split(members)?;
        let (queue, one) = (self.group.queue.clone(), self.group.one.clone());
        let group = Arc::new(Group::new(link, queue, one));
        Ok(Arc::new(Self { group, tree: None, ..self.clone() }))
    }

    fn abort(&self, error: LinkError) {
        self.group.link.abort(error);
    }
}

impl Group {
    fn new(link: Arc<dyn Link>, queue: Queue, one: Tensor) -> Self {
        let native = link.native(&queue);
        Self { link, native, queue, one, begun: Mutex::default() }
    }
}

/// A collective: what ranks agree on, what the caller handed over, and what this rank does with it.
struct Work<'a> {
    call: Call,
    chunks: &'a [View],
    steps: &'a [Step],
}

/// The result of a look at arguments.
type Checked<T> = std::result::Result<T, Error>;

/// What ranks must agree on, but for the number and the type.
#[derive(Clone, Copy)]
struct Call {
    operation: &'static str,
    reduction: Option<Reduction>,
    elements: Option<usize>,
}

impl Call {
    fn new(operation: &'static str, reduction: Reduction, elements: usize) -> Self {
        Self { operation, reduction: Some(reduction), elements: Some(elements) }
    }

    fn moving(operation: &'static str, elements: Option<usize>) -> Self {
        Self { operation, reduction: None, elements }
    }
}

fn total(views: &[View]) -> usize {
    views.iter().map(View::elements).sum()
}

/// The type of all views, and of none whatever there is.
pub(crate) fn one_type<'a>(views: impl Iterator<Item = &'a View>) -> Checked<DType> {
    let mut types = views.map(View::dtype);
    let Some(first) = types.next() else { return Ok(DType::F32) };
    types
        .find(|dtype| *dtype != first)
        .map_or(Ok(first), |other| Err(Error::Types { first, other }))
}

/// The most ranks over which FP8 is summed by hops unless a group is told otherwise: the sum is rounded to three or two
/// fraction bits at every hop, so its error grows with the ranks.
pub const FP8_RING_RANKS: usize = 8;
