//! A run in its folder: steps, metrics, checkpoints, and going on after an interruption.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use fp8lm_device::{Label, Usage};

use crate::{
    Place, Plan, Result, Trainer,
    config::RunConfig,
    run::{
        CheckpointWriter, RunFolder,
        checkpoint::Damaged,
        metrics::{self, MetricsWriter, Record, Timing},
        tensorboard::EventWriter,
    },
    statistics::Statistics,
};

mod save;
mod start;

pub use start::Start;

/// A run in its folder, as one of its ranks has it. Ranks make the same calls at the same time.
#[derive(Debug)]
pub struct Session {
    trainer: Trainer,
    path: PathBuf,
    /// On the first rank, which writes for all.
    output: Option<Output>,
    /// Seconds that earlier sessions of the run took.
    earlier: f64,
    /// Of every rank's memory, as it was last measured.
    usage: Vec<BTreeMap<Label, Usage>>,
    damaged: Vec<Damaged>,
    stalled: Duration,
}

#[derive(Debug)]
struct Output {
    /// In front of the folder, which is another's only when all is written.
    checkpoints: CheckpointWriter,
    folder: RunFolder,
    metrics: MetricsWriter,
    events: EventWriter,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was asked to stop, and has saved a checkpoint.
    Stopped {
        /// What for.
        asked: usize,
    },
}

impl Session {
    /// Starts a run in a new folder.
    pub fn create(path: &Path, place: &Place, plan: Plan) -> Result<Self> {
        Self::open(path, place, plan, Start::New)
    }

    /// Goes on from the newest checkpoint of a run's folder, or from the start if it has none. The number of ranks need
    /// not be what it was.
    pub fn resume(path: &Path, place: &Place, plan: Plan) -> Result<Self> {
        Self::open(path, place, plan, Start::Resume)
    }

    /// Trains until the last step, or until some rank is `asked` to stop; then it saves a checkpoint. What a rank is
    /// asked to stop for is a number below 2^24, and 0 is nothing; of all ranks the largest counts. `observe` sees
    /// every record as it is written, on the first rank. Checkpoints are written beside the steps that follow, and all
    /// are when it returns.
    pub fn run(&mut self, asked: &AtomicUsize, observe: &mut dyn FnMut(&Record)) -> Result<Ending> {
        let ending = self.train(asked, observe)?;
        self.settle()?;
        Ok(ending)
    }

    fn train(&mut self, asked: &AtomicUsize, observe: &mut dyn FnMut(&Record)) -> Result<Ending> {
        let started = Instant::now();
        let steps = self.trainer.plan().config().run.steps;
        let mut saved = self.trainer.steps_done();
        while self.trainer.steps_done() < steps {
            self.output.as_mut().map_or(Ok(()), |output| output.checkpoints.check())?;
            let asked = self.trainer.largest(asked.load(Relaxed))?;
            if asked > 0 {
                if saved < self.trainer.steps_done() {
                    self.save()?;
                }
                return Ok(Ending::Stopped { asked });
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

    /// Measures the memory of every rank, for the report. The first rank gets the books of all; every rank must ask.
    pub fn measure_memory(&mut self) -> Result<&[BTreeMap<Label, Usage>]> {
        self.usage = self.trainer.usage_by_rank()?;
        Ok(&self.usage)
    }

    /// What was measured; nothing before that.
    pub(crate) fn usage(&self) -> &[BTreeMap<Label, Usage>] {
        &self.usage
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// How long this rank's steps have stood still for checkpoints.
    pub fn stalled(&self) -> Duration {
        self.stalled
    }

    /// The run folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run folder, on the first rank.
    pub fn folder(&self) -> Option<&RunFolder> {
        self.output.as_ref().map(|output| &output.folder)
    }

    fn new(trainer: Trainer, path: &Path, output: Option<Output>) -> Self {
        let (usage, damaged, stalled) = (Vec::new(), Vec::new(), Duration::ZERO);
        Self { trainer, path: path.to_owned(), output, earlier: 0.0, usage, damaged, stalled }
    }

    fn step(&mut self, started: Instant, observe: &mut dyn FnMut(&Record)) -> Result<()> {
        let begun = Instant::now();
        let is_logged = self.is_logged(self.trainer.steps_done() + 1);
        self.trainer.watch(is_logged);
        if is_logged {
            self.trainer.reset_statistics()?;
        }
        let summary = self.trainer.step()?;
        let seconds = begun.elapsed().as_secs_f64();
        self.trainer.expect_planned_memory()?;
        let validation_loss = self.evaluate()?;
        if !is_logged {
            return Ok(());
        }
        let statistics = self.trainer.statistics()?;
        let (Some(output), Some(statistics)) = (&mut self.output, statistics) else {
            return Ok(());
        };
        let Statistics { formats, mu, wire, straggler } = statistics;
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
            wire,
            timing: Timing {
                seconds: self.earlier + started.elapsed().as_secs_f64(),
                tokens_per_second: tokens as f64 / seconds,
                straggler,
            },
        };
        output.metrics.append(&record)?;
        output.events.append(&record)?;
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
}

impl Output {
    fn create(folder: RunFolder, run: &RunConfig) -> Result<Self> {
        let metrics = MetricsWriter::create(&folder.metrics())?;
        Self::new(folder, run, metrics, 0)
    }

    /// Goes on after `step`.
    fn resume(folder: RunFolder, run: &RunConfig, step: u64) -> Result<Self> {
        let metrics = MetricsWriter::resume(&folder.metrics(), step)?;
        Self::new(folder, run, metrics, step)
    }

    fn new(folder: RunFolder, run: &RunConfig, metrics: MetricsWriter, step: u64) -> Result<Self> {
        let events = EventWriter::create(folder.path(), step)?;
        let keep = NonZeroUsize::new(run.keep_checkpoints).unwrap_or(NonZeroUsize::MIN);
        let checkpoints = CheckpointWriter::new(folder.checkpoints(), keep);
        Ok(Self { checkpoints, folder, metrics, events })
    }

    /// The time that the run took so far.
    fn seconds(&self) -> Result<f64> {
        let last = metrics::read(&self.folder.metrics())?.pop();
        Ok(last.map_or(0.0, |record| record.timing.seconds))
    }
}
