//! The batches that a rank takes in a pass, and where their losses go.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use fp8lm_data::{Batch, Batches, Validation};
use fp8lm_device::{DType, Queue};
use fp8lm_model::Sequences;

use super::BATCH;
use crate::{Plan, Result};

/// The micro-batches of a rank, in order.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    source: Source<'a>,
    /// Sequences of a micro-batch, and tokens of a sequence.
    shape: [usize; 2],
    items: Vec<Item>,
    took: Cell<Duration>,
}

/// Where batches come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// A step of training.
    Training(&'a Batches, u64),
    Validation(&'a Validation),
}

/// One micro-batch.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Its number in the source.
    batch: usize,
    /// The place of its loss among those of all ranks.
    slot: usize,
}

impl<'a> Feed<'a> {
    /// What the data-parallel rank `data` learns from in a step.
    pub(super) fn training(plan: &Plan, data: usize, batches: &'a Batches, step: u64) -> Self {
        let batch_of = |micro_batch| plan.batch_of(data, micro_batch);
        let items = (0..plan.micro_batches_of_a_rank()).map(|micro_batch| {
            let slot = if is_whole(plan) { batch_of(micro_batch) } else { micro_batch };
            Item { batch: batch_of(micro_batch), slot }
        });
        Self::new(plan, Source::Training(batches, step), items)
    }

    /// Its share of the first `count` batches of the validation split: of each some sequences or, where ranks take
    /// whole micro-batches, some of them.
    pub(super) fn validation(
        plan: &Plan,
        data: usize,
        validation: &'a Validation,
        count: usize,
    ) -> Self {
        let ranks = plan.config().parallel.data;
        let source = Source::Validation(validation);
        if is_whole(plan) {
            let items = (data..count).step_by(ranks).map(|batch| Item { batch, slot: batch });
            return Self::new(plan, source, items);
        }
        let item = |slot| Item { batch: slot * ranks + data, slot };
        Self::new(plan, source, (0..count).map(item))
    }

    fn new(plan: &Plan, source: Source<'a>, items: impl Iterator<Item = Item>) -> Self {
        let shape = [plan.sampling_of_a_rank().batch, plan.model().context];
        Self { source, shape, items: items.collect(), took: Cell::default() }
    }

    /// How many there are.
    pub(super) fn micro_batches(&self) -> usize {
        self.items.len()
    }

    /// The place of a micro-batch's loss among those of all ranks.
    pub(super) fn slot(&self, micro_batch: usize) -> usize {
        self.items[micro_batch].slot
    }

    /// How long it has been making batches.
    pub(super) fn took(&self) -> Duration {
        self.took.get()
    }

    /// A micro-batch, on the device.
    pub(super) fn sequences(&self, queue: &Queue, micro_batch: usize) -> Result<Sequences> {
        let begun = Instant::now();
        let made = self.make(queue, micro_batch);
        self.took.set(self.took.get() + begun.elapsed());
        made
    }

    fn make(&self, queue: &Queue, micro_batch: usize) -> Result<Sequences> {
        let [rows, context] = self.shape;
        let mut batch = Batch::new(rows, context);
        let number = self.items[micro_batch].batch;
        match self.source {
            Source::Training(batches, step) => batches.fill(step, number, &mut batch)?,
            Source::Validation(validation) => validation.fill(number, &mut batch)?,
        }
        let upload = |tokens: &[u32]| {
            let tensor = queue.alloc(DType::U32, tokens.len(), BATCH)?;
            queue.write(tokens, &tensor).map(|()| tensor)
        };
        let (tokens, targets) = (upload(&batch.inputs)?, upload(&batch.targets)?);
        Ok(Sequences { tokens, targets, context })
    }
}

/// Whether ranks take whole micro-batches.
fn is_whole(plan: &Plan) -> bool {
    plan.config().parallel.deterministic
}
