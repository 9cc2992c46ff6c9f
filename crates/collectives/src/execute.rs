//! Steps carried out: exchanges on a link, reductions on the rank's device.

use std::iter::zip;

use fp8lm_device::{DType, Label, Link, Queue, Reduction, Result, Tag, Tensor, Transfer, View};
use fp8lm_ops as ops;

use crate::{Place, Step, books::Books};

/// What the memory beside the chunks is for.
pub(crate) const COMMUNICATION: Label = Label("communication");

/// A collective under way on one rank. Its steps go over `chunks`.
pub(crate) struct Execution<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) link: &'a dyn Link,
    /// F32 `[1]`.
    pub(crate) one: &'a Tensor,
    pub(crate) books: &'a Books,
    pub(crate) label: Label,
    pub(crate) tag: Tag,
    pub(crate) chunks: &'a [View],
}

impl Execution<'_> {
    pub(crate) fn run(&self, steps: &[Step]) -> Result<()> {
        let slots = self.slots(steps)?;
        steps.iter().try_for_each(|step| match step {
            Step::Exchange { .. } => self.exchange(step, &slots),
            Step::Combine { chunk, slot } => self.combine(&self.chunks[*chunk], &slots, *slot),
            Step::Reduce { chunk } => self.reduce(&self.chunks[*chunk], &slots),
        })
    }

    /// Chunks without elements are sent nowhere: both sides know that they are empty.
    fn exchange(&self, step: &Step, slots: &Slots) -> Result<()> {
        let Step::Exchange { sends, receives } = step else { return Ok(()) };
        let has_elements = |chunk: usize| self.chunks[chunk].elements() > 0;
        let sends = sends.iter().filter(|send| has_elements(send.chunk)).map(|send| {
            let from = self.chunks[send.chunk].clone();
            Transfer::Send { peer: send.to, from }
        });
        let receives = receives.iter().filter(|receive| has_elements(receive.chunk));
        let receives = receives.map(|receive| {
            let chunk = &self.chunks[receive.chunk];
            let to = match receive.into {
                Place::Chunk => chunk.clone(),
                Place::Slot(slot) => slots.view(slot, chunk.elements()),
            };
            Transfer::Receive { peer: receive.from, to }
        });
        let transfers: Vec<_> = sends.chain(receives).collect();
        if transfers.is_empty() {
            return Ok(());
        }
        self.books.count((self.label, self.tag.operation), self.link.rank(), &transfers);
        self.link.exchange(self.queue.stream(), self.tag, &transfers)
    }

    /// One hop, in the chunk's own type.
    fn combine(&self, chunk: &View, slots: &Slots, slot: usize) -> Result<()> {
        if chunk.elements() == 0 {
            return Ok(());
        }
        let arrived = flat(slots.view(slot, chunk.elements()));
        let sum = self.queue.alloc(chunk.dtype(), chunk.elements(), COMMUNICATION)?;
        ops::combine(self.queue, &flat(chunk.clone()), &arrived, self.reduction(), &sum)?;
        self.queue.copy_view(sum.view(), chunk)
    }

    /// All ranks at once, in f32, with one rounding to the chunk's type.
    fn reduce(&self, chunk: &View, slots: &Slots) -> Result<()> {
        let (n, ranks) = (chunk.elements(), self.link.size());
        if n == 0 {
            return Ok(());
        }
        let (chunk, inbox) = (flat(chunk.clone()), slots.inbox([ranks, n]));
        match chunk.dtype() {
            DType::U64 => ops::sum_counts(self.queue, &inbox, &chunk),
            _ => ops::reduce_ranks(self.queue, &inbox, self.one, self.reduction(), &chunk),
        }
    }

    fn reduction(&self) -> Reduction {
        self.tag.reduction.unwrap_or(Reduction::Sum)
    }

    /// Slots as long as the longest chunk that comes into each.
    fn slots(&self, steps: &[Step]) -> Result<Slots> {
        let mut lengths = Vec::new();
        for step in steps {
            let Step::Exchange { receives, .. } = step else { continue };
            for receive in receives {
                let Place::Slot(slot) = receive.into else { continue };
                lengths.resize(lengths.len().max(slot + 1), 0);
                lengths[slot] = self.chunks[receive.chunk].elements().max(lengths[slot]);
            }
        }
        Slots::new(self.queue, self.tag.dtype, &lengths)
    }
}

/// Memory beside the chunks, one slot behind the other.
struct Slots {
    memory: Tensor,
    starts: Vec<usize>,
}

impl Slots {
    fn new(queue: &Queue, dtype: DType, lengths: &[usize]) -> Result<Self> {
        let mut starts = vec![0; lengths.len()];
        let mut end = 0;
        for (start, length) in zip(&mut starts, lengths) {
            *start = end;
            end += length;
        }
        Ok(Self { memory: queue.alloc(dtype, end, COMMUNICATION)?, starts })
    }

    fn view(&self, slot: usize, elements: usize) -> View {
        self.memory.view().slice(self.starts[slot], elements)
    }

    /// All slots, which one length makes rows.
    fn inbox(&self, shape: [usize; 2]) -> Tensor {
        self.memory.reshape(shape)
    }
}

fn flat(view: View) -> Tensor {
    let elements = view.elements();
    Tensor::new(view, elements.into())
}
