//! The stages of a pipeline: which blocks each has, and on which ranks they lie.

use fp8lm_model::Part;
use fp8lm_parallel::{Axis, Costs, Error, PipelineShape, Program};

use super::Plan;
use crate::config::Config;

/// A stage's number.
type Stage = usize;

/// Which stages lie where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stages {
    /// Blocks of each: stages share them evenly.
    blocks: usize,
    count: usize,
    borders: usize,
    /// Of every place of the pipeline its chunks.
    chunks: Vec<Vec<Stage>>,
}

impl Stages {
    /// Of a configuration that was checked.
    pub(super) fn new(config: &Config) -> Self {
        let shape = config.parallel.shape(config.data.micro_batches);
        let paths = config.parallel.schedule.paths(shape);
        let mut places: Vec<_> = paths
            .iter()
            .flat_map(|path| path.iter().enumerate().map(|(stage, place)| (*place, stage)))
            .collect();
        places.sort_unstable();
        let mut chunks = vec![Vec::new(); shape.ranks];
        places.into_iter().for_each(|(place, stage)| chunks[place.rank].push(stage));
        let count = paths[0].len();
        // All paths have as many.
        let borders = paths[0].windows(2).filter(|pair| pair[0].rank != pair[1].rank).count();
        Self { blocks: config.model.layers / count, count, borders, chunks }
    }

    /// What the chunks of a place have.
    pub(super) fn parts(&self, place: usize) -> Vec<Part> {
        self.chunks[place].iter().map(|&stage| self.part(stage)).collect()
    }

    /// Borders between two stages on different ranks, each of which every micro-batch crosses.
    pub(super) fn borders(&self) -> usize {
        self.borders
    }

    /// The places of a pipeline with the same stages as `place`, in their order.
    pub(super) fn mirrors(&self, place: usize) -> Vec<usize> {
        let own = self.chunks[place].first();
        let has = |other: &usize| self.chunks[*other].iter().any(|stage| Some(stage) == own);
        (0..self.chunks.len()).filter(has).collect()
    }

    /// Which of those with the same weights a rank is, by its places on the pipeline's and the data axis.
    pub(super) fn replica(&self, place: usize, data: usize) -> usize {
        let mirrors = self.mirrors(place);
        data * mirrors.len() + mirrors.iter().take_while(|&&other| other < place).count()
    }

    fn part(&self, stage: Stage) -> Part {
        let first = stage * self.blocks;
        Part {
            blocks: first..first + self.blocks,
            first: stage == 0,
            last: stage + 1 == self.count,
        }
    }
}

impl Plan {
    /// The number of stages that share the blocks.
    pub fn stages(&self) -> usize {
        self.stages.count
    }

    /// What the chunks of a rank have of the model, in the order of chunks.
    pub fn parts(&self, rank: usize) -> Result<Vec<Part>, Error> {
        let place = self.mesh().coordinate(rank)?.place(Axis::Pipeline);
        Ok(self.stages.parts(place))
    }

    /// The size of each pipeline: with the micro-batches of a step that one data-parallel rank takes.
    pub fn pipeline_shape(&self) -> PipelineShape {
        self.config().parallel.shape(self.config().data.micro_batches)
    }

    /// What the ranks of a pipeline do in a step.
    pub fn program(&self) -> Result<Program, Error> {
        self.config().parallel.schedule.program(self.pipeline_shape())
    }

    /// The part of a step that the rank which idles most does so, by the formula of the schedule, where the backward
    /// pass of a stage costs two forward passes, and a gradient of weights one.
    pub fn idle(&self) -> f64 {
        let shape = self.pipeline_shape();
        let costs = Costs { forward: 1.0, backward: 2.0, weight: 1.0, overlapped: 3.0 };
        let bubble = self.config().parallel.schedule.bubble(shape, costs);
        // A stage of an interleaved pipeline costs a part of that.
        let stages = self.stages() as f64 / (shape.ranks * shape.chunks) as f64;
        bubble / (bubble + stages * shape.micro_batches as f64 * costs.overlapped)
    }

    /// How many ranks have the same weights: data-parallel ones, and under some schedules as many again.
    pub fn replicas(&self) -> usize {
        self.config().parallel.data * self.stages.mirrors(0).len()
    }
}
