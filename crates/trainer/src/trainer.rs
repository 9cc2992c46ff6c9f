//! A model, its optimizer and its data on one rank: what a training step is.

use std::sync::Arc;

use fp8lm_collectives::{Composed, Traffic};
use fp8lm_data::{Batch, Batches, Corpus, Validation};
use fp8lm_device::{Accounted, Alone, Collectives, DType, Device, Label, Queue, Reduction, Tensor};
use fp8lm_model::{Gpt, Sequences};
use fp8lm_ops as ops;
use fp8lm_optim::{AdamW, Outcome, StepReading};
use fp8lm_parallel::{DataParallel, SCALARS};
use fp8lm_scaling::Pass;

use crate::{Error, Place, Plan, Result, corpus};

mod setup;

/// A model in training, as one rank has it. Ranks make the same calls at the same time.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) queue: Queue,
    pub(crate) plan: Plan,
    pub(crate) gpt: Gpt,
    pub(crate) optimizer: AdamW,
    pub(crate) corpus: Arc<Corpus>,
    pub(crate) group: Arc<dyn Collectives>,
    /// None if there is one rank.
    pub(crate) parallel: Option<DataParallel>,
    /// The group again, for what was sent in it; none if there is one rank.
    composed: Option<Composed>,
    /// What the last step sent.
    traffic: Traffic,
    device: Arc<Accounted>,
    batches: Batches,
    validation: Validation,
    batch: Batch,
    sequences: Sequences,
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
        plan.config().expect_trainable()?;
        setup::expect_ranks(place, &plan)?;
        let device = Arc::new(Accounted::new(place.device.clone()));
        let queue = Queue::new(device.clone())?;
        setup::expect_room(&queue, &plan, place.rank())?;
        let corpus = Arc::new(corpus::open(&plan.config().data)?);
        let (batches, validation) = setup::data(&plan, &corpus)?;
        let config = plan.config();
        let mut gpt = Gpt::new(&queue, &config.model, plan.recipe(), config.run.seed)?;
        let composed = setup::composed(place, &queue, &plan)?;
        let group: Arc<dyn Collectives> = match &composed {
            Some(composed) => composed.labelled(SCALARS),
            None => Arc::new(Alone),
        };
        let parallel = setup::parallel(&queue, &group, &plan, &mut gpt)?;
        let optimizer = AdamW::new(&queue, plan.options(), &gpt.parameters())?;
        let (rows, context) = (plan.sampling_of_a_rank().batch, config.model.context);
        let sequences = Sequences {
            tokens: queue.alloc(DType::U32, rows * context, BATCH)?,
            targets: queue.alloc(DType::U32, rows * context, BATCH)?,
            context,
        };
        let losses = queue.alloc(DType::F32, config.data.micro_batches, BATCH)?;
        Ok(Self {
            queue,
            gpt,
            optimizer: optimizer.over(group.clone()),
            plan,
            corpus,
            group,
            parallel,
            composed,
            traffic: Traffic::new(),
            device,
            batches,
            validation,
            batch: Batch::new(rows, context),
            sequences,
            losses,
            step: 0,
            skipped: 0,
        })
    }

    /// One optimizer step.
    pub fn step(&mut self) -> Result<StepSummary> {
        self.take_traffic();
        self.gpt.begin_step(&self.queue, self.step)?;
        for micro_batch in 0..self.plan.config().data.micro_batches {
            self.micro_batch(micro_batch)?;
        }
        let learning_rate = self.plan.schedule().learning_rate(self.step);
        let outcome = self.update(learning_rate)?;
        self.gpt.end_step(&self.queue, self.group.as_ref())?;
        self.step += 1;
        self.add_up(&self.losses)?;
        let losses = self.queue.download::<f32>(&self.losses)?;
        let loss = mean(&losses, self.plan.tokens_per_step());
        self.traffic = self.take_traffic();
        let outcome = outcome.read(&self.queue)?;
        self.skipped += u64::from(outcome.skipped);
        Ok(StepSummary { loss, learning_rate, outcome })
    }

    /// The mean loss over the first `batches` batches of the validation split, in nats a token. A batch has as many
    /// sequences as a micro-batch has over all ranks, and each rank takes its part.
    pub fn evaluate(&mut self, batches: usize) -> Result<f64> {
        let batches = batches.min(self.validation_batches());
        let sums = self.queue.alloc(DType::F32, batches, BATCH)?;
        for index in 0..batches {
            let own = index * self.group.size() + self.group.rank();
            self.validation.fill(own, &mut self.batch)?;
            self.upload()?;
            let loss = self.gpt.forward(&self.queue, &self.sequences, 1.0, Pass::Evaluate)?.0;
            ops::sum(&self.queue, &loss, &sums.element(index))?;
        }
        self.add_up(&sums)?;
        let tokens = batches * self.batch.inputs.len() * self.group.size();
        Ok(mean(&self.queue.download::<f32>(&sums)?, tokens as u64))
    }

    /// Checks that what is allocated for parameters is what was planned, to the byte.
    pub fn expect_planned_memory(&self) -> Result<()> {
        let usage = self.device.usage();
        for row in &self.plan.memory_by_rank()[self.group.rank()] {
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

    /// Whether any rank says so.
    pub fn any(&self, own: bool) -> Result<bool> {
        if self.group.size() == 1 {
            return Ok(own);
        }
        let flag = self.queue.upload(&[f32::from(u8::from(own))], 1, BATCH)?;
        self.group.all_reduce(&self.queue, flag.view(), Reduction::Maximum)?.wait(&self.queue)?;
        Ok(self.queue.download::<f32>(&flag)? != [0.0])
    }

    /// The number of batches in the validation split.
    pub fn validation_batches(&self) -> usize {
        self.validation.count() / self.group.size()
    }

    /// Its rank among those that train the model, from 0.
    pub fn rank(&self) -> usize {
        self.group.rank()
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

    /// Adds the gradients of one micro-batch. Those of the last begin to be summed over ranks as they come.
    fn micro_batch(&mut self, micro_batch: usize) -> Result<()> {
        // Ranks take the rows of a micro-batch in turn.
        let own = micro_batch * self.group.size() + self.group.rank();
        self.batches.fill(self.step, own, &mut self.batch)?;
        self.upload()?;
        let scale = 1.0 / self.plan.tokens_per_rank_and_step() as f32;
        let queue = &self.queue;
        let (loss, stash) = self.gpt.forward(queue, &self.sequences, scale, Pass::Train)?;
        ops::sum(queue, &loss, &self.losses.element(micro_batch))?;
        let is_last = micro_batch + 1 == self.plan.config().data.micro_batches;
        let parallel = &mut self.parallel;
        Ok(self.gpt.backward(queue, stash, &mut |parameter| match parallel {
            Some(parallel) if is_last => parallel.add(queue, parameter),
            _ => parameter.gradient_mut().fold(queue),
        })?)
    }

    /// Steps the parameters, each on the rank that owns it, and gives them to the others.
    fn update(&mut self, learning_rate: f64) -> Result<Outcome> {
        let parameters = &mut self.gpt.parameters_mut();
        if let Some(parallel) = &mut self.parallel {
            parallel.finish(&self.queue, parameters)?;
        }
        let outcome = self.optimizer.step(&self.queue, parameters, learning_rate)?;
        if let Some(parallel) = &self.parallel {
            parallel.gather(&self.queue, parameters)?;
        }
        Ok(outcome)
    }

    /// What was sent since the last time.
    fn take_traffic(&self) -> Traffic {
        self.composed.as_ref().map(Composed::take_traffic).unwrap_or_default()
    }

    /// Sums over ranks.
    fn add_up(&self, x: &Tensor) -> Result<()> {
        self.group.all_reduce(&self.queue, x.view(), Reduction::Sum)?.wait(&self.queue)?;
        Ok(())
    }

    fn upload(&self) -> Result<()> {
        self.queue.write(&self.batch.inputs, &self.sequences.tokens)?;
        Ok(self.queue.write(&self.batch.targets, &self.sequences.targets)?)
    }
}

/// Sums of losses as a mean, in f64.
fn mean(sums: &[f32], tokens: u64) -> f64 {
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() / tokens as f64
}

/// The memory of a batch and of its losses.
const BATCH: Label = Label("batch");
