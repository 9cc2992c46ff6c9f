//! A run in its folder: steps, metrics, checkpoints, and going on after an interruption.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use fp8lm_device::Device;

use crate::{
    Plan, Result, Trainer,
    run::{
        RunFolder, checkpoint,
        metrics::{self, MetricsWriter, Record, Timing},
        tensorboard::EventWriter,
    },
};

/// A run in its folder.
#[derive(Debug)]
pub struct Session {
    trainer: Trainer,
    folder: RunFolder,
    metrics: MetricsWriter,
    events: EventWriter,
    /// Seconds that earlier sessions of the run took.
    earlier: f64,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was asked to stop, and has saved a checkpoint.
    Stopped,
}

impl Session {
    /// Starts a run in a new folder.
    pub fn create(path: &Path, device: Arc<dyn Device>, plan: Plan) -> Result<Self> {
        let config = plan.config().to_toml()?;
        let trainer = Trainer::new(device, plan)?;
        let folder = RunFolder::create(path, &config)?;
        let metrics = MetricsWriter::create(&folder.metrics())?;
        let events = EventWriter::create(folder.path(), 0)?;
        Ok(Self { trainer, folder, metrics, events, earlier: 0.0 })
    }

    /// Goes on from the newest checkpoint of a run's folder, or from the start if it has none.
    pub fn resume(path: &Path, device: Arc<dyn Device>, plan: Plan) -> Result<Self> {
        let folder = RunFolder::resume(path)?;
        let config = plan.config().to_toml()?;
        let mut trainer = Trainer::new(device, plan)?;
        if let Some(checkpoint) = checkpoint::latest(&folder.checkpoints())? {
            trainer.restore(&checkpoint)?;
        }
        folder.write_config(&config)?;
        let step = trainer.steps_done();
        let metrics = MetricsWriter::resume(&folder.metrics(), step)?;
        let events = EventWriter::create(folder.path(), step)?;
        let last = metrics::read(&folder.metrics())?.pop();
        let earlier = last.map_or(0.0, |record| record.timing.seconds);
        Ok(Self { trainer, folder, metrics, events, earlier })
    }

    /// Trains until the last step, or until `stop` is set; then it saves a checkpoint. `observe`
    /// sees every record as it is written.
    pub fn run(&mut self, stop: &AtomicBool, observe: &mut dyn FnMut(&Record)) -> Result<Ending> {
        let started = Instant::now();
        let steps = self.trainer.plan().config().run.steps;
        let mut saved = self.trainer.steps_done();
        while self.trainer.steps_done() < steps {
            if stop.load(Relaxed) {
                if saved < self.trainer.steps_done() {
                    self.save()?;
                }
                return Ok(Ending::Stopped);
            }
            self.step(started, observe)?;
            let every = self.trainer.plan().config().run.checkpoint_every;
            if self.is_due(self.trainer.steps_done(), every) {
                self.save()?;
                saved = self.trainer.steps_done();
            }
        }
        Ok(Ending::Finished)
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The run folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    fn step(&mut self, started: Instant, observe: &mut dyn FnMut(&Record)) -> Result<()> {
        let begun = Instant::now();
        if self.is_logged(self.trainer.steps_done() + 1) {
            self.trainer.reset_statistics()?;
        }
        let summary = self.trainer.step()?;
        let seconds = begun.elapsed().as_secs_f64();
        self.trainer.expect_planned_memory()?;
        let validation_loss = self.evaluate()?;
        if !self.is_logged(self.trainer.steps_done()) {
            return Ok(());
        }
        let (formats, mu) = self.trainer.statistics()?;
        let tokens = self.trainer.plan().tokens_per_step();
        let record = Record {
            step: self.trainer.steps_done(),
            tokens: self.trainer.steps_done() * tokens,
            loss: summary.loss,
            validation_loss,
            learning_rate: summary.learning_rate,
            grad_norm: summary.outcome.norm.into(),
            skipped: self.trainer.steps_skipped(),
            formats,
            mu,
            wire: None,
            timing: Timing {
                seconds: self.earlier + started.elapsed().as_secs_f64(),
                tokens_per_second: tokens as f64 / seconds,
            },
        };
        self.metrics.append(&record)?;
        self.events.append(&record)?;
        observe(&record);
        Ok(())
    }

    /// A part of the validation split now and then, all of it at the end, as the run is configured.
    fn evaluate(&mut self) -> Result<Option<f64>> {
        let run = &self.trainer.plan().config().run;
        let last = self.trainer.steps_done() == run.steps;
        let batches = if last { run.evaluate_batches_at_end } else { run.evaluate_batches };
        if !self.is_due(self.trainer.steps_done(), run.evaluate_every) {
            return Ok(None);
        }
        let batches = if batches == 0 { self.trainer.validation_batches() } else { batches };
        self.trainer.evaluate(batches).map(Some)
    }

    /// Whether `step` is one of every so many, or the last.
    fn is_due(&self, step: u64, every: u64) -> bool {
        step == self.trainer.plan().config().run.steps || step.is_multiple_of(every)
    }

    /// Whether `step` gets a record.
    fn is_logged(&self, step: u64) -> bool {
        let run = &self.trainer.plan().config().run;
        self.is_due(step, run.log_every) || self.is_due(step, run.evaluate_every)
    }

    /// Metrics first: a checkpoint must not outlive the lines that lead up to it.
    fn save(&mut self) -> Result<PathBuf> {
        self.metrics.sync()?;
        let (tensors, metadata) = self.trainer.snapshot()?;
        let checkpoints = self.folder.checkpoints();
        let step = self.trainer.steps_done();
        let path = checkpoint::save(&checkpoints, step, &tensors, &metadata)?;
        let keep = self.trainer.plan().config().run.keep_checkpoints;
        checkpoint::keep_last(&checkpoints, NonZeroUsize::new(keep).unwrap_or(NonZeroUsize::MIN))?;
        Ok(path)
    }
}
