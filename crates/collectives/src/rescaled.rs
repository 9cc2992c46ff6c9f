//! FP8 codes of several ranks, reduced in f32 and rounded once, under a scale that the result itself gives.

use std::ops::Range;

use fp8lm_device::{
    Collectives, DType, Error as DeviceError, Pending, Queue, Reduction, Result, Tensor, View,
};
use fp8lm_formats::{E4M3, E5M2};
use fp8lm_ops::{self as ops, ScaleRule};

use crate::{chunks, execute::COMMUNICATION};

/// Codes that all ranks have, and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// E4M3 or E5M2. Where the result is another rank's alone, they are undefined afterwards.
    pub values: &'a Tensor,
    /// How the result's scale follows from its amax.
    pub rule: ScaleRule,
    /// Who gets the result.
    pub owner: Owner,
}

/// Who gets what is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// All ranks: each reduces a part, the [`chunks`] of the tensor.
    All,
    /// One rank, which reduces all of it.
    Rank(usize),
}

/// Each of `amaxes`, F32, becomes the largest that any rank has, exactly. NaN does not occur: an amax has it infinite.
pub fn agree_amaxes(group: &dyn Collectives, queue: &Queue, amaxes: &Tensor) -> Result<Pending> {
    group.all_reduce(queue, amaxes.view(), Reduction::Maximum)
}

/// Reduces tensors over the ranks of a group, rounding once. All is enqueued on `queue`, and ordered there.
///
/// With S\[i\] the reduction over ranks r ascending of decode(code_r\[i\]), in f32, and f the codes' largest value:
/// t = scale(amax(S), f) by the tensor's rule, code\[i\] = SatRNE(RN(S\[i\] * t)). Returns t of each tensor, F32
/// `[1]`, which is undefined where the result is another rank's. Who owns a tensor changes no bit of it, nor does the
/// company in which it travels: tensors of one format share their exchanges.
pub fn reduce_rescaled(
    group: &dyn Collectives,
    queue: &Queue,
    tensors: &[Shared<'_>],
    reduction: Reduction,
) -> Result<Vec<Tensor>> {
    reduce_rescaled_over(Groups { group, peers: group }, queue, tensors, reduction)
}

/// The ranks that reduce, and those who agree on amaxes: the same, and the ranks that have other shards of the tensors.
#[derive(Clone, Copy)]
pub(crate) struct Groups<'a> {
    pub(crate) group: &'a dyn Collectives,
    pub(crate) peers: &'a dyn Collectives,
}

pub(crate) fn reduce_rescaled_over(
    groups: Groups<'_>,
    queue: &Queue,
    tensors: &[Shared<'_>],
    reduction: Reduction,
) -> Result<Vec<Tensor>> {
    let Groups { group, peers } = groups;
    tensors.iter().try_for_each(|tensor| tensor.check(group.size()))?;
    let factors = queue.alloc(DType::F32, tensors.len().max(1), COMMUNICATION)?;
    let factors: Vec<_> = (0..tensors.len()).map(|index| factors.element(index)).collect();
    let parts: Vec<_> =
        tensors.iter().zip(&factors).map(|(t, f)| Parts::new(*t, f, group)).collect();
    for dtype in [DType::E4M3, DType::E5M2] {
        let alike: Vec<_> = parts.iter().filter(|p| p.tensor.values.dtype() == dtype).collect();
        if !alike.is_empty() {
            Reducing { group, peers, queue, reduction, tensors: &alike }.run(dtype)?;
        }
    }
    Ok(factors)
}

/// Tensors of one format on their way.
struct Reducing<'a> {
    group: &'a dyn Collectives,
    peers: &'a dyn Collectives,
    queue: &'a Queue,
    reduction: Reduction,
    tensors: &'a [&'a Parts<'a>],
}

impl Reducing<'_> {
    fn run(&self, dtype: DType) -> Result<()> {
        let inboxes = self.deliver(dtype)?;
        let amaxes = self.amaxes(&inboxes)?;
        let scalar = |value| {
            let scalar = self.queue.alloc(DType::F32, 1, COMMUNICATION)?;
            ops::fill(self.queue, &scalar, value).map(|()| scalar)
        };
        let (one, inverse) = (scalar(1.0)?, scalar(1.0)?);
        for (index, (parts, inbox)) in self.tensors.iter().zip(&inboxes).enumerate() {
            let (rule, factor) = (parts.tensor.rule, parts.factor);
            let amax = amaxes.element(index);
            ops::scale_from_amax(self.queue, &amax, &one, largest(dtype), rule, factor, &inverse)?;
            if let (Some(inbox), Some(own)) = (inbox, parts.own()) {
                let own = Tensor::new(own, inbox.cols().into());
                ops::reduce_ranks(self.queue, inbox, factor, self.reduction, &own)?;
            }
        }
        let cut: Vec<_> = self.cut().flat_map(Parts::views).collect();
        self.group.all_gather(self.queue, &cut)?.wait(self.queue)
    }

    /// What all ranks have of this rank's parts, [ranks, part] for each tensor of which it has one.
    fn deliver(&self, dtype: DType) -> Result<Vec<Option<Tensor>>> {
        let ranks = self.group.size();
        let inbox = |parts: &&Parts<'_>| {
            let shape = parts.own().map(|own| [ranks, own.elements()]);
            shape.map(|shape| self.queue.alloc(dtype, shape, COMMUNICATION)).transpose()
        };
        let inboxes = self.tensors.iter().map(inbox).collect::<Result<Vec<_>>>()?;
        let empty = self.queue.alloc(dtype, 0, COMMUNICATION)?.view().clone();
        let rows = inboxes.iter().flat_map(|inbox| match inbox {
            None => vec![empty.clone(); ranks],
            Some(inbox) => views(inbox.view(), &chunks(inbox.elements(), ranks)),
        });
        let receives: Vec<_> = rows.collect();
        let sends: Vec<_> = self.tensors.iter().flat_map(|parts| parts.views()).collect();
        self.group.all_to_all(self.queue, &sends, &receives)?.wait(self.queue)?;
        Ok(inboxes)
    }

    /// The amax of each result, where the rank gets it.
    fn amaxes(&self, inboxes: &[Option<Tensor>]) -> Result<Tensor> {
        let amaxes = self.queue.alloc(DType::F32, inboxes.len(), COMMUNICATION)?;
        ops::fill(self.queue, &amaxes, 0.0)?;
        for (index, inbox) in inboxes.iter().enumerate() {
            if let Some(inbox) = inbox {
                ops::amax_ranks(self.queue, inbox, self.reduction, &amaxes.element(index))?;
            }
        }
        // The owner of all of a tensor knows its amax already, unless others have its shards.
        let is_shared = self.peers.size() > self.group.size() || self.cut().next().is_some();
        if self.peers.size() > 1 && is_shared {
            agree_amaxes(self.peers, self.queue, &amaxes)?.wait(self.queue)?;
        }
        Ok(amaxes)
    }

    /// The tensors of which each rank has a part.
    fn cut(&self) -> impl Iterator<Item = &Parts<'_>> {
        self.tensors.iter().copied().filter(|parts| parts.tensor.owner == Owner::All)
    }
}

/// A tensor cut into one part for each rank.
struct Parts<'a> {
    tensor: Shared<'a>,
    factor: &'a Tensor,
    rank: usize,
    /// Of the flat tensor, by rank.
    ranges: Vec<Range<usize>>,
}

impl<'a> Parts<'a> {
    fn new(tensor: Shared<'a>, factor: &'a Tensor, group: &dyn Collectives) -> Self {
        let ranges = tensor.owner.ranges(tensor.values.elements(), group.size());
        Self { tensor, factor, rank: group.rank(), ranges }
    }

    fn views(&self) -> Vec<View> {
        views(self.tensor.values.view(), &self.ranges)
    }

    /// This rank's part, if it has elements.
    fn own(&self) -> Option<View> {
        let own = &self.ranges[self.rank];
        (!own.is_empty()).then(|| self.tensor.values.view().slice(own.start, own.len()))
    }
}

impl Owner {
    /// The part of each rank.
    pub(crate) fn ranges(self, elements: usize, size: usize) -> Vec<Range<usize>> {
        match self {
            Owner::All => chunks(elements, size),
            Owner::Rank(owner) => {
                (0..size).map(|rank| if rank == owner { 0..elements } else { 0..0 }).collect()
            }
        }
    }
}

impl Shared<'_> {
    pub(crate) fn check(&self, ranks: usize) -> Result<()> {
        let (operation, dtype) = ("reduce_codes", self.values.dtype());
        if !matches!(dtype, DType::E4M3 | DType::E5M2) {
            return Err(DeviceError::Type { operation, expected: DType::E4M3, got: dtype });
        }
        match self.owner {
            Owner::Rank(rank) if rank >= ranks => {
                Err(crate::Error::Rank { rank, ranks }.of(operation))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn views(view: &View, ranges: &[Range<usize>]) -> Vec<View> {
    ranges.iter().map(|range| view.slice(range.start, range.len())).collect()
}

/// The largest value of a format.
fn largest(dtype: DType) -> f32 {
    if dtype == DType::E5M2 { E5M2::MAX_F32 } else { E4M3::MAX_F32 }
}
