//! Schedules, a file for each: a pure function from shape and rank to steps, and what it claims to cost.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Costs, Place, Program, Step};
use crate::{Error, Result};

mod dualpipe;
mod dualpipe_v;
mod gpipe;
mod interleaved;
mod one_f_one_b;
mod phases;
mod zb_h1;

/// A way to order the work of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Schedule {
    /// All forward passes, then all backward passes.
    #[serde(rename = "gpipe")]
    Gpipe,
    /// One forward pass, one backward pass.
    #[default]
    #[serde(rename = "1f1b")]
    OneFOneB,
    /// The same over several short stages a rank.
    #[serde(rename = "interleaved")]
    Interleaved,
    /// 1F1B that puts off weight gradients.
    #[serde(rename = "zb-h1")]
    ZbH1,
    /// Micro-batches from both ends.
    #[serde(rename = "dualpipe")]
    DualPipe,
    /// Micro-batches that go down the ranks and up again.
    #[serde(rename = "dualpipe-v")]
    DualPipeV,
}

/// How large a pipeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PipelineShape {
    /// Ranks along it: `parallel.pipeline`.
    pub ranks: usize,
    /// Stages a rank, of interleaved schedules: `parallel.chunks`. All others know theirs, and take 1.
    pub chunks: usize,
    /// Micro-batches a step: `data.micro_batches`.
    pub micro_batches: usize,
}

/// What there is to a schedule. Its functions are given shapes that have passed `check`.
struct Definition {
    name: &'static str,
    about: &'static str,
    /// How many ranks have each stage.
    replicas: usize,
    /// What it demands of a shape without zeros.
    check: fn(PipelineShape) -> Result<()>,
    /// The ways of micro-batches through the ranks; as many of them in a row take each.
    paths: fn(PipelineShape) -> Vec<Vec<Place>>,
    steps: fn(PipelineShape, usize) -> Vec<Step>,
    bubble: fn(PipelineShape, Costs) -> f64,
    /// Where `bubble` is what comes of the steps.
    exact: fn(PipelineShape, Costs) -> bool,
    peak_activations: fn(PipelineShape, usize) -> usize,
}

impl Schedule {
    /// Every schedule.
    pub const ALL: [Self; 6] = [
        Self::Gpipe,
        Self::OneFOneB,
        Self::Interleaved,
        Self::ZbH1,
        Self::DualPipe,
        Self::DualPipeV,
    ];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        self.definition().about
    }

    /// An error that says which number to change to what, unless there is a program of this shape.
    pub fn check(self, shape: PipelineShape) -> Result<()> {
        at_least(self, RANKS, shape.ranks, 1)?;
        at_least(self, CHUNKS, shape.chunks, 1)?;
        at_least(self, MICRO_BATCHES, shape.micro_batches, 1)?;
        (self.definition().check)(shape)
    }

    /// Stages that a micro-batch goes through, of a shape that is legal.
    pub fn stages(self, shape: PipelineShape) -> usize {
        (self.definition().paths)(shape)[0].len()
    }

    /// The ways of micro-batches through the ranks, of a shape that is legal: as many of them in a row take each. They
    /// do not depend on the number of micro-batches.
    pub fn paths(self, shape: PipelineShape) -> Vec<Vec<Place>> {
        (self.definition().paths)(shape)
    }

    /// How many ranks along the pipeline have the weights of a stage.
    pub fn replicas(self) -> usize {
        self.definition().replicas
    }

    /// What every rank does.
    pub fn program(self, shape: PipelineShape) -> Result<Program> {
        self.check(shape)?;
        let definition = self.definition();
        let steps = (0..shape.ranks).map(|rank| (definition.steps)(shape, rank)).collect();
        Ok(Program::new(shape, (definition.paths)(shape), steps))
    }

    /// By its published formula: how long the rank that idles most does so, of a shape that is legal.
    pub fn bubble(self, shape: PipelineShape, costs: Costs) -> f64 {
        (self.definition().bubble)(shape, costs)
    }

    /// Whether that is what a [`Timeline`](super::Timeline) comes to: some formulas suppose something of the costs.
    pub fn bubble_is_exact(self, shape: PipelineShape, costs: Costs) -> bool {
        (self.definition().exact)(shape, costs)
    }

    /// By its formula: the most micro-batches whose activations a rank holds at once, counted at each of its stages.
    pub fn peak_activations(self, shape: PipelineShape, rank: usize) -> usize {
        (self.definition().peak_activations)(shape, rank)
    }

    fn definition(self) -> &'static Definition {
        match self {
            Self::Gpipe => &gpipe::DEFINITION,
            Self::OneFOneB => &one_f_one_b::DEFINITION,
            Self::Interleaved => &interleaved::DEFINITION,
            Self::ZbH1 => &zb_h1::DEFINITION,
            Self::DualPipe => &dualpipe::DEFINITION,
            Self::DualPipeV => &dualpipe_v::DEFINITION,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|schedule| schedule.name() == name);
        found.ok_or_else(|| Error::NoSuchSchedule { name: name.to_owned() })
    }
}

/// One stage a rank, in their order.
fn straight(shape: PipelineShape) -> Vec<Vec<Place>> {
    vec![(0..shape.ranks).map(|rank| Place { rank, chunk: 0 }).collect()]
}

/// An error unless the shape asks for one chunk a rank.
fn one_chunk(schedule: Schedule, shape: PipelineShape) -> Result<()> {
    let chunks = shape.chunks;
    if chunks == 1 { Ok(()) } else { Err(Error::ChunksNotTaken { schedule, chunks }) }
}

fn at_least(schedule: Schedule, key: &'static str, got: usize, least: usize) -> Result<()> {
    if got >= least { Ok(()) } else { Err(Error::TooFew { schedule, key, got, least }) }
}

fn multiple_of(schedule: Schedule, key: &'static str, got: usize, of: usize) -> Result<()> {
    let whole = got.is_multiple_of(of);
    if whole { Ok(()) } else { Err(Error::NotAMultiple { schedule, key, got, of }) }
}

const RANKS: &str = "parallel.pipeline";
const CHUNKS: &str = "parallel.chunks";
const MICRO_BATCHES: &str = "data.micro_batches";
