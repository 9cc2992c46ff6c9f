//! A model, its optimizer and its data on one rank: what a training step is.

use std::{sync::Arc, time::Duration};

use fp8lm_collectives::Traffic;
use fp8lm_data::{Batches, Corpus, Validation};
use fp8lm_device::{Accounted, DType, Device, Label, Queue, Reduction, Tensor};
use fp8lm_ops as ops;
use fp8lm_optim::{AdamW, Outcome, StepReading};
use fp8lm_parallel::{Axis, DataParallel};
use fp8lm_scaling::Pass;

use self::{
    feed::Feed,
    passes::Passes,
    stage::Context,
    watch::{Waits, Watch},
};
use crate::{
    Error, Place, Plan, Result, corpus,
    run::metrics::{Phase, Spent},
};

mod feed;
mod groups;
mod parts;
mod passes;
mod setup;
mod stage;
mod watch;

pub(crate) use groups::Groups;
pub(crate) use parts::Parts;

/// A model in training, as one rank has it. Ranks make the same calls at the same time.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) queue: Queue,
    pub(crate) plan: Plan,
    pub(crate) parts: Parts,
    pub(crate) optimizer: AdamW,
    pub(crate) corpus: Arc<Corpus>,
    pub(crate) groups: Groups,
    /// None where no other rank has these weights, or a part of them.
    pub(crate) parallel: Option<DataParallel>,
    passes: Passes,
    watch: Watch,
    /// What the last step sent.
    traffic: Traffic,
    device: Arc<Accounted>,
    batches: Batches,
    validation: Validation,
    losses: Tensor,
    step: u64,
    skipped: u64,
}

/// The figures of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSummary {
    /// The mean loss, in nats a token.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The gradient's global norm, and whether the step was skipped.
    pub outcome: StepReading,
}

impl Trainer {
    /// A model with initial weights, at step 0, on one rank.
    pub fn new(device: Arc<dyn Device>, plan: Plan) -> Result<Self> {
        Self::join(&Place::alone(device), plan)
    }

    /// The part of one rank in a model with initial weights, at step 0.
    pub fn join(place: &Place, plan: Plan) -> Result<Self> {
        setup::expect_ranks(place, &plan)?;
        let device = Arc::new(Accounted::new(place.device.clone()));
        let queue = Queue::new(device.clone())?;
        setup::expect_room(&queue, &plan, place.rank())?;
        let corpus = Arc::new(corpus::open(&plan.config().data)?);
        let (batches, validation) = setup::data(&plan, &corpus)?;
        let waits = Waits::default();
        let groups = Groups::new(place, &queue, &plan, &waits)?;
        let mut parts = Parts::new(&queue, &groups, &plan)?;
        let parallel = setup::parallel(&queue, &groups, &plan, &mut parts)?;
        let optimizer = setup::optimizer(&queue, &groups, &plan, &parts)?;
        let passes = Passes::new(&queue, &groups, &plan)?;
        let losses = queue.alloc(DType::F32, plan.config().data.micro_batches, BATCH)?;
        Ok(Self {
            queue,
            parts,
            optimizer,
            plan,
            corpus,
            groups,
            parallel,
            passes,
            watch: Watch::new(waits),
            traffic: Traffic::new(),
            device,
            batches,
            validation,
            losses,
            step: 0,
            skipped: 0,
        })
    }

    /// One optimizer step.
    pub fn step(&mut self) -> Result<StepSummary> {
        self.groups.take_traffic();
        self.watch.reset();
        self.parts.begin_step(&self.queue, self.step)?;
        self.timed(Phase::Passes, Self::learn)?;
        let learning_rate = self.plan.schedule().learning_rate(self.step);
        let update = |trainer: &mut Self| Ok((trainer.update(learning_rate)?, Duration::ZERO));
        let outcome = self.timed(Phase::Update, update)?;
        self.parts.end_step(&self.queue, self.groups.peers.as_ref())?;
        self.step += 1;
        self.add_up(&self.losses)?;
        let losses = self.queue.download::<f32>(&self.losses)?;
        let loss = mean(&losses, self.plan.tokens_per_step());
        self.traffic = self.groups.take_traffic();
        let outcome = outcome.read(&self.queue)?;
        self.skipped += u64::from(outcome.skipped);
        Ok(StepSummary { loss, learning_rate, outcome })
    }

    /// The mean loss over the first `batches` batches of the validation split, in nats a token. A batch has as many
    /// sequences as a micro-batch has over all ranks. NaN of no batches.
    pub fn evaluate(&mut self, batches: usize) -> Result<f64> {
        let batches = batches.min(self.validation_batches());
        let sums = self.queue.alloc(DType::F32, batches, BATCH)?;
        ops::fill(&self.queue, &sums, 0.0)?;
        let data = self.groups.place(Axis::Data);
        let feed = Feed::validation(&self.plan, data, &self.validation, batches);
        let losses = self.groups.is_first_shard().then_some(&sums);
        let context = Context { pass: Pass::Evaluate, feed: &feed, gradient_scale: 1.0, losses };
        self.passes.evaluate(&self.queue, &mut self.parts, context)?;
        self.add_up(&sums)?;
        let tokens = batches * self.plan.sampling().batch * self.plan.model().context;
        Ok(mean(&self.queue.download::<f32>(&sums)?, tokens as u64))
    }

    /// Checks that what is allocated for parameters is what was planned, to the byte.
    pub fn expect_planned_memory(&self) -> Result<()> {
        let usage = self.device.usage();
        for row in &self.plan.memory_by_rank()[self.groups.world.rank()] {
            let (label, allocated) = (row.label, row.allocated(&usage));
            match row.bytes {
                Some(planned) if planned != allocated => {
                    return Err(Error::Unplanned { label, planned, allocated });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The largest number that a rank says. They are below 2^24, and so what f32 has exactly.
    pub fn largest(&self, own: usize) -> Result<usize> {
        let world = &self.groups.world;
        if world.size() == 1 {
            return Ok(own);
        }
        let number = self.queue.upload(&[own as f32], 1, BATCH)?;
        world.all_reduce(&self.queue, number.view(), Reduction::Maximum)?.wait(&self.queue)?;
        Ok(self.queue.download::<f32>(&number)?[0] as usize)
    }

    /// The step that the first rank says, if it says one.
    pub(crate) fn hear_first(&self, own: Option<u64>) -> Result<Option<u64>> {
        let said = self.queue.upload(&[own.map_or(0, |step| step + 1)], 1, BATCH)?;
        self.groups.world.broadcast(&self.queue, said.view(), 0)?.wait(&self.queue)?;
        Ok(self.queue.download::<u64>(&said)?[0].checked_sub(1))
    }

    /// The number of batches in the validation split.
    pub fn validation_batches(&self) -> usize {
        self.validation.count() * self.plan.sampling_of_a_rank().batch / self.plan.sampling().batch
    }

    /// Its rank among those that train the model, from 0.
    pub fn rank(&self) -> usize {
        self.groups.world.rank()
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// Steps among them that were skipped, because a gradient was not finite.
    pub fn steps_skipped(&self) -> u64 {
        self.skipped
    }

    pub(crate) fn set_steps(&mut self, done: u64, skipped: u64) {
        (self.step, self.skipped) = (done, skipped);
    }

    /// What this rank sent in the last step: bytes by kind and collective.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What is trained, and how.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The stream that it works on.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The books of the device's memory.
    pub fn device(&self) -> &Accounted {
        &self.device
    }

    /// What it is trained on.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// From the next step on, whether it is to be told where a rank's time goes. At the ends of phases the rank then
    /// waits for its stream, which changes no bit.
    pub(crate) fn watch(&mut self, is_on: bool) {
        self.watch.is_on = is_on && self.groups.world.size() > 1;
    }

    /// Where this rank's time went in the last step; nothing unless it was to be told.
    pub(crate) fn spent(&self) -> &Spent {
        self.watch.spent()
    }

    /// Does a part of a step, which tells how long it was making batches.
    fn timed<T>(
        &mut self,
        phase: Phase,
        work: impl FnOnce(&mut Self) -> Result<(T, Duration)>,
    ) -> Result<T> {
        let begun = self.watch.begin();
        let (done, data) = work(self)?;
        if self.watch.is_on {
            self.queue.synchronize()?;
            self.watch.end(phase, begun, data);
        }
        Ok(done)
    }

    /// Adds the gradients of all micro-batches.
    fn learn(&mut self) -> Result<((), Duration)> {
        ops::fill(&self.queue, &self.losses, 0.0)?;
        let data = self.groups.place(Axis::Data);
        let feed = Feed::training(&self.plan, data, &self.batches, self.step);
        let losses = self.groups.is_first_shard().then_some(&self.losses);
        let gradient_scale = self.plan.gradient_scale();
        let context = Context { pass: Pass::Train, feed: &feed, gradient_scale, losses };
        self.passes.learn(&self.queue, &mut self.parts, context, self.parallel.as_mut())?;
        Ok(((), feed.took()))
    }

    /// Steps the parameters, each on the rank that owns it, and gives them to the others.
    fn update(&mut self, learning_rate: f64) -> Result<Outcome> {
        let parameters = &mut self.parts.parameters_mut();
        if let Some(parallel) = &mut self.parallel {
            parallel.finish(&self.queue, parameters)?;
        }
        let outcome = self.optimizer.step(&self.queue, parameters, learning_rate)?;
        if let Some(parallel) = &self.parallel {
            parallel.gather(&self.queue, parameters)?;
        }
        Ok(outcome)
    }

    /// Sums over ranks.
    fn add_up(&self, x: &Tensor) -> Result<()> {
        let world = &self.groups.world;
        world.all_reduce(&self.queue, x.view(), Reduction::Sum)?.wait(&self.queue)?;
        Ok(())
    }
}

/// Sums of losses as a mean, in f64.
fn mean(sums: &[f32], tokens: u64) -> f64 {
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() / tokens as f64
}

/// The memory of a batch and of its losses.
const BATCH: Label = Label("batch");

#[cfg(test)]
mod tests;
