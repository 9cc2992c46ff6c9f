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
};

/// One rank's end of a group: its link, and one queue on its device for all that the group does.
///
/// Handles that are made from one another share the queue, so all they do on this rank has one order, whatever queues
/// it is called for. Reductions are of F32, BF16, F16, E4M3 and E5M2, by the handle's [`Algorithm`], and sums also of
/// U64, modulo 2^64; all else moves values of any type.
#[derive(Clone, Debug)]
pub struct Composed {
    group: Arc<Group>,
    books: Arc<Books>,
    algorithm: Algorithm,
    tree: Option<Arc<Tree>>,
    label: Label,
}

/// What all handles of a group share.
#[derive(Debug)]
struct Group {
    link: Arc<dyn Link>,
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
        let group = Group { link, queue, one, begun: Mutex::default() };
        let (group, books) = (Arc::new(group), Arc::default());
        Ok(Self { group, books, algorithm, tree: None, label: COMMUNICATION })
    }

    /// The same group, whose reductions go by another algorithm.
    #[must_use]
    pub fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, tree: None, ..self.clone() }
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
        let link = self.group.link.split(members)?;
        Channel::new(link, &self.group.queue, self.books.clone(), label)
    }

    /// Runs steps over `chunks` behind the work of `queue`. `chunks` are what the caller handed over.
    fn run(&self, queue: &Queue, call: Call, chunks: &[View], steps: &[Step]) -> Result<Pending> {
        let Some(first) = chunks.first() else { return Ok(Pending::done()) };
        let Call { operation, reduction, elements } = call;
        let group = &*self.group;
        // The count stays right after a panic elsewhere.
        let mut begun = group.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = Tag { operation, reduction, dtype: first.dtype(), elements, number: *begun };
        *begun += 1;
        group.queue.wait(&queue.record()?)?;
        let (link, books, label) = (&*group.link, &*self.books, self.label);
        let Group { queue: own, one, .. } = group;
        Execution { queue: own, link, one, books, label, tag, chunks }.run(steps)?;
        Ok(Pending::new(group.queue.record()?, chunks.to_vec()))
    }

    fn all_reduce_steps(&self, algorithm: Algorithm) -> Vec<Step> {
        match &self.tree {
            Some(tree) if algorithm == self.algorithm => nccl_tree::steps(self.rank(), tree),
            _ => algorithm.all_reduce(self.rank(), self.size()),
        }
    }

    /// The handle's own, but for counts, whose sum has no roundings.
    fn algorithm_for(&self, dtype: DType, reduction: Reduction) -> Checked<Algorithm> {
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
        self.run(queue, call, &chunks, &self.all_reduce_steps(algorithm))
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
        self.run(queue, call, parts, &algorithm.reduce_scatter(self.rank(), self.size()))
    }

    fn all_gather(&self, queue: &Queue, parts: &[View]) -> Result<Pending> {
        let check = || {
            self.expect_per_rank(parts)?;
            one_type(parts.iter())
        };
        check().map_err(|error| error.of("all_gather"))?;
        let call = Call::moving("all_gather", Some(total(parts)));
        self.run(queue, call, parts, &all_gather::steps(self.rank(), self.size(), parts.len()))
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
        self.run(queue, Call::moving("all_to_all", None), &chunks, &steps)
    }

    fn broadcast(&self, queue: &Queue, x: &View, root: usize) -> Result<Pending> {
        let (rank, ranks) = (self.rank(), self.size());
        if root >= ranks {
            return Err(Error::Rank { rank: root, ranks }.of("broadcast"));
        }
        let call = Call::moving("broadcast", Some(x.elements()));
        self.run(queue, call, std::slice::from_ref(x), &broadcast::steps(rank, ranks, root))
    }

    fn labelled(&self, label: Label) -> Arc<dyn Collectives> {
        Arc::new(Self { label, ..self.clone() })
    }

    /// The new group counts in the same books, and runs on the same queue. It takes the default tree.
    fn split(&self, members: &[usize]) -> Result<Arc<dyn Collectives>> {
        let link = self.group.link.split(members)?;
        let (queue, one) = (self.group.queue.clone(), self.group.one.clone());
        let group = Group { link, queue, one, begun: Mutex::default() };
        Ok(Arc::new(Self { group: Arc::new(group), tree: None, ..self.clone() }))
    }

    fn abort(&self, error: LinkError) {
        self.group.link.abort(error);
    }
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
