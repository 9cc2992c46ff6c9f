//! A model, its optimizer and its data on one device: what a training step is.

use std::sync::Arc;

use fp8lm_data::{Batch, Batches, Corpus, Sampling, Split, Validation};
use fp8lm_device::{Accounted, Alone, DType, Device, Label, Properties, Queue, Tensor};
use fp8lm_model::{Gpt, Sequences};
use fp8lm_ops as ops;
use fp8lm_optim::{AdamW, StepReading};
use fp8lm_scaling::Pass;

use crate::{Error, Plan, Result, corpus};

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) queue: Queue,
    pub(crate) plan: Plan,
    pub(crate) gpt: Gpt,
    pub(crate) optimizer: AdamW,
    pub(crate) corpus: Arc<Corpus>,
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
    /// A model with initial weights, at step 0.
    pub fn new(device: Arc<dyn Device>, plan: Plan) -> Result<Self> {
        plan.config().expect_trainable()?;
        let device = Arc::new(Accounted::new(device));
        let queue = Queue::new(device.clone())?;
        expect_room(&queue, &plan)?;
        let corpus = Arc::new(corpus::open(&plan.config().data)?);
        let (batches, validation) = data(&plan, &corpus)?;
        let config = plan.config();
        let gpt = Gpt::new(&queue, &config.model, plan.recipe(), config.run.seed)?;
        let optimizer = AdamW::new(&queue, plan.options(), &gpt.parameters())?;
        let (rows, context) = (config.data.batch, config.model.context);
        let sequences = Sequences {
            tokens: queue.alloc(DType::U32, rows * context, BATCH)?,
            targets: queue.alloc(DType::U32, rows * context, BATCH)?,
            context,
        };
        let losses = queue.alloc(DType::F32, config.data.micro_batches, BATCH)?;
        let batch = Batch::new(rows, context);
        Ok(Self {
            queue,
            plan,
            gpt,
            optimizer,
            corpus,
            device,
            batches,
            validation,
            batch,
            sequences,
            losses,
            step: 0,
            skipped: 0,
        })
    }

    /// One optimizer step.
    pub fn step(&mut self) -> Result<StepSummary> {
        self.gpt.begin_step(&self.queue, self.step)?;
        let micro_batches = self.plan.config().data.micro_batches;
        for micro_batch in 0..micro_batches {
            self.batches.fill(self.step, micro_batch, &mut self.batch)?;
            self.upload()?;
            self.micro_batch(micro_batch)?;
        }
        let learning_rate = self.plan.schedule().learning_rate(self.step);
        let parameters = &mut self.gpt.parameters_mut();
        let outcome = self.optimizer.step(&self.queue, parameters, learning_rate)?;
        self.gpt.end_step(&self.queue, &Alone)?;
        self.step += 1;
        let losses = self.queue.download::<f32>(&self.losses)?;
        let loss = mean(&losses, self.plan.tokens_per_step());
        let outcome = outcome.read(&self.queue)?;
        self.skipped += u64::from(outcome.skipped);
        Ok(StepSummary { loss, learning_rate, outcome })
    }

    /// The mean loss over the first `batches` batches of the validation split, in nats a token.
    pub fn evaluate(&mut self, batches: usize) -> Result<f64> {
        let batches = batches.min(self.validation.count());
        let sum = self.queue.alloc(DType::F32, 1, BATCH)?;
        let mut sums = Vec::with_capacity(batches);
        for index in 0..batches {
            self.validation.fill(index, &mut self.batch)?;
            self.upload()?;
            let loss = self.gpt.forward(&self.queue, &self.sequences, 1.0, Pass::Evaluate)?.0;
            ops::sum(&self.queue, &loss, &sum)?;
            sums.push(self.queue.download::<f32>(&sum)?[0]);
        }
        Ok(mean(&sums, (batches * self.batch.inputs.len()) as u64))
    }

    /// Checks that what is allocated for parameters is what was planned, to the byte.
    pub fn expect_planned_memory(&self) -> Result<()> {
        let usage = self.device.usage();
        for row in self.plan.memory() {
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

    /// The number of batches in the validation split.
    pub fn validation_batches(&self) -> usize {
        self.validation.count()
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

    fn micro_batch(&mut self, micro_batch: usize) -> Result<()> {
        let scale = 1.0 / self.plan.tokens_per_step() as f32;
        let (loss, stash) = self.gpt.forward(&self.queue, &self.sequences, scale, Pass::Train)?;
        ops::sum(&self.queue, &loss, &self.losses.element(micro_batch))?;
        let queue = &self.queue;
        Ok(self
            .gpt
            .backward(queue, stash, &mut |parameter| parameter.gradient_mut().fold(queue))?)
    }

    fn upload(&self) -> Result<()> {
        self.queue.write(&self.batch.inputs, &self.sequences.tokens)?;
        Ok(self.queue.write(&self.batch.targets, &self.sequences.targets)?)
    }
}

/// An error, before any weight is drawn, if the device is too small for the plan.
pub(crate) fn expect_room(queue: &Queue, plan: &Plan) -> Result<()> {
    let needed = plan.memory().iter().filter_map(|row| row.bytes).sum();
    let Properties { name: device, memory_bytes: available } = queue.properties().clone();
    if needed <= available { Ok(()) } else { Err(Error::TooLarge { device, needed, available }) }
}

fn data(plan: &Plan, corpus: &Arc<Corpus>) -> Result<(Batches, Validation)> {
    let config = plan.config();
    let context = config.model.context;
    let split = Split::new(corpus.len(), config.data.validation)?;
    let sampling = Sampling {
        seed: config.run.seed,
        batch: config.data.batch,
        micro_batches: config.data.micro_batches,
        context,
    };
    let batches = Batches::new(corpus, &split, sampling)?;
    Ok((batches, Validation::new(corpus, &split, config.data.batch, context)?))
}

/// Sums of losses as a mean, in f64.
fn mean(sums: &[f32], tokens: u64) -> f64 {
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() / tokens as f64
}

/// The memory of a batch and of its losses.
const BATCH: Label = Label("batch");
