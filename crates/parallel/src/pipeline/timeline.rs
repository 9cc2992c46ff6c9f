//! When every step of a program runs, if all that ranks send arrives at once.

use std::fmt;

use super::{Place, Program, Step, Task, Work};
use crate::{Error, Result};

/// How long work takes, in any unit, at one stage of a plain schedule over the same ranks; a stage of an interleaved
/// one takes its [share](Program::divisor).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// A forward pass.
    pub forward: f64,
    /// A backward pass of both gradients.
    pub backward: f64,
    /// The part of it that makes the gradient of the weights; the rest makes that of the input.
    pub weight: f64,
    /// A forward and a backward pass that overlap.
    pub overlapped: f64,
}

/// A step, and when it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// What is done.
    pub step: Step,
    /// When it begins.
    pub start: f64,
    /// When it ends.
    pub end: f64,
}

/// A rank that waits for good, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The rank.
    pub rank: usize,
    /// What it cannot start.
    pub task: Task,
    /// Whose result it lacks: another rank's, or its own of an earlier task that comes too late.
    pub of: Place,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, task, of } = self;
        write!(f, "rank {rank} waits with the {task} for chunk {} of rank {}", of.chunk, of.rank)
    }
}

/// When every step of a program runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    ranks: Vec<Vec<Timed>>,
    makespan: f64,
}

impl Timeline {
    /// Runs a program: every step begins as soon as its rank has done those before and all that it takes is made.
    pub fn new(program: &Program, costs: Costs) -> Result<Self> {
        let mut run = Run::new(program, costs);
        while run.round() {}
        let waits = run.waits();
        if !waits.is_empty() {
            return Err(Error::Deadlock { waits });
        }
        let ends = run.ranks.iter().filter_map(|steps| steps.last());
        let makespan = ends.fold(0.0, |latest: f64, last| latest.max(last.end));
        Ok(Self { ranks: run.ranks, makespan })
    }

    /// The steps of a rank, in order.
    pub fn steps(&self, rank: usize) -> &[Timed] {
        &self.ranks[rank]
    }

    /// From the beginning of the first step to the end of the last.
    pub fn makespan(&self) -> f64 {
        self.makespan
    }

    /// How long a rank is busy.
    pub fn busy(&self, rank: usize) -> f64 {
        self.ranks[rank].iter().map(|timed| timed.end - timed.start).sum()
    }

    /// How long a rank idles: the makespan less what it is busy.
    pub fn idle(&self, rank: usize) -> f64 {
        self.makespan - self.busy(rank)
    }

    /// How long the rank that idles most does so.
    pub fn bubble(&self) -> f64 {
        (0..self.ranks.len()).fold(0.0, |most: f64, rank| most.max(self.idle(rank)))
    }

    /// The most micro-batches whose activations a rank holds at once, counted at each of its stages: from the forward
    /// pass until the gradient of the weights. Of a pass that overlaps another, before that has dropped any.
    pub fn peak_activations(&self, rank: usize) -> usize {
        let (mut held, mut peak) = (0usize, 0);
        for task in self.ranks[rank].iter().flat_map(|timed| timed.step.tasks()) {
            held += usize::from(task.work == Work::Forward);
            peak = peak.max(held);
            held = held.saturating_sub(usize::from(task.work.makes_weight_gradient()));
        }
        peak
    }
}

/// A program under way.
struct Run<'a> {
    program: &'a Program,
    costs: Costs,
    ranks: Vec<Vec<Timed>>,
    /// When the output of each stage is made, by stage and micro-batch.
    outputs: Vec<Option<f64>>,
    /// When the gradient of the input of each stage is made.
    gradients: Vec<Option<f64>>,
}

impl<'a> Run<'a> {
    fn new(program: &'a Program, costs: Costs) -> Self {
        let unmade = vec![None; program.stages() * program.micro_batches()];
        let share = program.divisor() as f64;
        let costs = Costs {
            forward: costs.forward / share,
            backward: costs.backward / share,
            weight: costs.weight / share,
            overlapped: costs.overlapped / share,
        };
        let ranks = vec![Vec::new(); program.ranks()];
        Self { program, costs, ranks, outputs: unmade.clone(), gradients: unmade }
    }

    /// Lets every rank go as far as it can, and says whether any did.
    fn round(&mut self) -> bool {
        let mut moved = false;
        for rank in 0..self.program.ranks() {
            while let Some((step, start)) = self.next(rank) {
                self.run(rank, step, start);
                moved = true;
            }
        }
        moved
    }

    /// The next step of a rank and when it begins, if it can.
    fn next(&self, rank: usize) -> Option<(Step, f64)> {
        let step = *self.program.steps(rank).get(self.ranks[rank].len())?;
        let free = self.ranks[rank].last().map_or(0.0, |last| last.end);
        let start = step.tasks().try_fold(free, |start, task| {
            self.needs(rank, task).try_fold(start, |start, made| Some(start.max(made?)))
        })?;
        Some((step, start))
    }

    /// When what a task needs is made.
    fn needs(&self, rank: usize, task: Task) -> impl Iterator<Item = Option<f64>> {
        let (stage, batch) = (self.program.stage(rank, task.chunk), task.micro_batch);
        let before = stage.checked_sub(1).map(|before| self.outputs[self.index(before, batch)]);
        let after = (stage + 1 < self.program.stages())
            .then(|| self.gradients[self.index(stage + 1, batch)]);
        let here = self.index(stage, batch);
        let needs = match task.work {
            Work::Forward => [before, None],
            Work::Backward | Work::InputGradient => [Some(self.outputs[here]), after],
            Work::WeightGradient => [Some(self.gradients[here]), None],
        };
        needs.into_iter().flatten()
    }

    fn run(&mut self, rank: usize, step: Step, start: f64) {
        let end = start + self.duration(step);
        for task in step.tasks() {
            let made = self.index(self.program.stage(rank, task.chunk), task.micro_batch);
            match task.work {
                Work::Forward => self.outputs[made] = Some(end),
                Work::Backward | Work::InputGradient => self.gradients[made] = Some(end),
                Work::WeightGradient => {}
            }
        }
        self.ranks[rank].push(Timed { step, start, end });
    }

    fn duration(&self, step: Step) -> f64 {
        let Costs { forward, backward, weight, overlapped } = self.costs;
        match step {
            Step::Overlapped { .. } => overlapped,
            Step::One(task) => match task.work {
                Work::Forward => forward,
                Work::Backward => backward,
                Work::InputGradient => backward - weight,
                Work::WeightGradient => weight,
            },
        }
    }

    /// The ranks that have not come to their end.
    fn waits(&self) -> Vec<Wait> {
        (0..self.program.ranks()).filter_map(|rank| self.wait(rank)).collect()
    }

    fn wait(&self, rank: usize) -> Option<Wait> {
        let step = self.program.steps(rank).get(self.ranks[rank].len())?;
        let lacks = |task: &Task| self.needs(rank, *task).any(|made| made.is_none());
        let task = step.tasks().find(lacks)?;
        let own = Place { rank, chunk: task.chunk };
        let of = self.program.source(rank, task).unwrap_or(own);
        Some(Wait { rank, task, of })
    }

    fn index(&self, stage: usize, micro_batch: usize) -> usize {
        stage * self.program.micro_batches() + micro_batch
    }
}
