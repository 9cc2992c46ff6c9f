//! A part of the model as a stage of a pipeline.

use std::{cell::RefCell, collections::BTreeMap};

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_model::{Gpt, GptPending, GptStash, Part};
use fp8lm_ops as ops;
use fp8lm_parallel::{DataParallel, Stage};
use fp8lm_scaling::{Parameter, Pass};

use super::feed::Feed;
use crate::Error;

/// A part of the model as a stage, in one pass over micro-batches.
pub(super) struct ModelStage<'a, 'p> {
    part: &'a Part,
    gpt: &'a mut Gpt,
    context: Context<'a>,
    /// Where gradients go as soon as they have all micro-batches; none where they wait for the end of the pass.
    sums: Option<&'a Sums<'p>>,
    stashes: BTreeMap<usize, GptStash>,
    pending: BTreeMap<usize, GptPending>,
}

/// Where the stages of a rank, one at a time, hand gradients to.
pub(super) type Sums<'p> = RefCell<&'p mut DataParallel>;

/// What all stages of a rank share in a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) pass: Pass,
    pub(super) feed: &'a Feed<'a>,
    pub(super) gradient_scale: f32,
    /// The sum of each micro-batch's losses, F32; none where another rank has the same.
    pub(super) losses: Option<&'a Tensor>,
}

impl<'a, 'p> ModelStage<'a, 'p> {
    pub(super) fn new(
        part: &'a Part,
        gpt: &'a mut Gpt,
        context: Context<'a>,
        sums: Option<&'a Sums<'p>>,
    ) -> Self {
        let (stashes, pending) = (BTreeMap::new(), BTreeMap::new());
        Self { part, gpt, context, sums, stashes, pending }
    }

    fn stash(&mut self, micro_batch: usize) -> GptStash {
        self.stashes.remove(&micro_batch).expect(IN_ORDER)
    }
}

impl Stage for ModelStage<'_, '_> {
    fn forward(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        x: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        let Context { pass, feed, gradient_scale, losses } = self.context;
        let sequences = feed.sequences(queue, micro_batch).map_err(failed)?;
        let forward = self.gpt.forward_part(queue, &sequences, x.as_ref(), gradient_scale, pass);
        let (y, stash) = forward.map_err(failed)?;
        if pass == Pass::Train {
            self.stashes.insert(micro_batch, stash);
        }
        if !self.part.last {
            return Ok(Some(y));
        }
        if let Some(losses) = losses {
            ops::sum(queue, &y, &losses.element(feed.slot(micro_batch)))?;
        }
        Ok(None)
    }

    fn backward(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        let stash = self.stash(micro_batch);
        let added = &mut added(queue, self.sums, self.context.feed, micro_batch);
        let dx = self.gpt.backward_part(queue, stash, dy.as_ref(), added).map_err(failed)?;
        Ok((!self.part.first).then_some(dx))
    }

    fn input_gradient(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        let stash = self.stash(micro_batch);
        let gradient = self.gpt.input_gradient(queue, stash, dy.as_ref());
        let (dx, pending) = gradient.map_err(failed)?;
        self.pending.insert(micro_batch, pending);
        Ok((!self.part.first).then_some(dx))
    }

    fn weight_gradient(&mut self, queue: &Queue, micro_batch: usize) -> Result<()> {
        let pending = self.pending.remove(&micro_batch).expect(IN_ORDER);
        let added = &mut added(queue, self.sums, self.context.feed, micro_batch);
        self.gpt.weight_gradient(queue, pending, added).map_err(failed)
    }
}

/// What is done with a parameter to which a micro-batch was added: those of the last begin to be summed over ranks.
fn added<'a, 'p>(
    queue: &'a Queue,
    sums: Option<&'a Sums<'p>>,
    feed: &Feed<'_>,
    micro_batch: usize,
) -> impl FnMut(&mut Parameter) -> fp8lm_device::Result<()> + use<'a, 'p> {
    let is_last = micro_batch + 1 == feed.micro_batches();
    move |parameter| match sums {
        Some(sums) if is_last => sums.borrow_mut().add(queue, parameter),
        _ => parameter.gradient_mut().fold(queue),
    }
}

/// The error of a stage: that of the device, if it is one.
fn failed(error: impl Into<Error>) -> fp8lm_device::Error {
    match error.into() {
        Error::Model(fp8lm_model::Error::Device(error)) => error,
        other => fp8lm_device::Error::Failed { operation: "a stage", source: other.into() },
    }
}

const IN_ORDER: &str = "a program has each forward pass before its gradients";
