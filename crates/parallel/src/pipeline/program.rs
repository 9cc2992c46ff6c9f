//! What all ranks of a pipeline do in one step, as data.

use super::{PipelineShape, Step, Task, Work};

/// Where a stage is: one of a rank's chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The rank, along the pipeline.
    pub rank: usize,
    /// Which of its stages, from 0.
    pub chunk: usize,
}

/// The steps of every rank, and the way of every micro-batch through them.
///
/// An output goes to the place of the next stage, a gradient to that of the stage before. What rank a sends to rank b,
/// it sends in the order of its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    micro_batches: usize,
    /// How many micro-batches in a row take the same path.
    stretch: usize,
    paths: Vec<Vec<Place>>,
    steps: Vec<Vec<Step>>,
    divisor: usize,
}

impl Program {
    pub(super) fn new(shape: PipelineShape, paths: Vec<Vec<Place>>, steps: Vec<Vec<Step>>) -> Self {
        let micro_batches = shape.micro_batches;
        let stretch = micro_batches / paths.len();
        Self { micro_batches, stretch, paths, steps, divisor: shape.chunks }
    }

    /// Ranks along the pipeline.
    pub fn ranks(&self) -> usize {
        self.steps.len()
    }

    /// Stages that a micro-batch goes through.
    pub fn stages(&self) -> usize {
        self.paths[0].len()
    }

    /// Micro-batches of a step.
    pub fn micro_batches(&self) -> usize {
        self.micro_batches
    }

    /// Into how many stages that of a plain schedule over as many ranks is divided: 1 unless interleaved.
    pub fn divisor(&self) -> usize {
        self.divisor
    }

    /// What a rank does, in order. Panics if there is no such rank, as all below.
    pub fn steps(&self, rank: usize) -> &[Step] {
        &self.steps[rank]
    }

    /// The same by tasks; of two that overlap the forward pass comes first.
    pub fn tasks(&self, rank: usize) -> impl Iterator<Item = Task> {
        self.steps[rank].iter().flat_map(|step| step.tasks())
    }

    /// Who has each stage for this micro-batch, in the order of stages.
    pub fn path(&self, micro_batch: usize) -> &[Place] {
        &self.paths[micro_batch / self.stretch]
    }

    /// Which stage a chunk of a rank is.
    pub fn stage(&self, rank: usize, chunk: usize) -> usize {
        let place = Place { rank, chunk };
        let stage = self.paths.iter().find_map(|path| path.iter().position(|&at| at == place));
        stage.unwrap_or_else(|| panic!("rank {rank} of a pipeline has no chunk {chunk}"))
    }

    /// How many stages a rank has.
    pub fn chunks(&self, rank: usize) -> usize {
        self.paths.iter().flatten().filter(|place| place.rank == rank).count()
    }

    /// Whose result a task takes, if any: of the stage before for a forward pass, of the next one for a gradient.
    pub fn source(&self, rank: usize, task: Task) -> Option<Place> {
        let stage = self.stage(rank, task.chunk);
        let path = self.path(task.micro_batch);
        match task.work {
            Work::Forward => stage.checked_sub(1).map(|before| path[before]),
            Work::Backward | Work::InputGradient => path.get(stage + 1).copied(),
            Work::WeightGradient => None,
        }
    }

    /// Who takes the result of a task, if anybody.
    pub fn target(&self, rank: usize, task: Task) -> Option<Place> {
        let stage = self.stage(rank, task.chunk);
        let path = self.path(task.micro_batch);
        match task.work {
            Work::Forward => path.get(stage + 1).copied(),
            Work::Backward | Work::InputGradient => stage.checked_sub(1).map(|before| path[before]),
            Work::WeightGradient => None,
        }
    }

    /// Forward passes alone, of so many micro-batches, all on the path of the first: what evaluation does.
    pub fn forwards(&self, micro_batches: usize) -> Self {
        let steps = (0..self.ranks()).map(|rank| self.wave(rank, micro_batches)).collect();
        let (paths, stretch) = (self.paths.clone(), micro_batches.max(1));
        Self { micro_batches, stretch, paths, steps, divisor: self.divisor }
    }

    /// A rank's forward passes in the order in which they could start at the earliest, so that none waits for a
    /// later one.
    fn wave(&self, rank: usize, micro_batches: usize) -> Vec<Step> {
        let stages = self.paths[0].iter().enumerate().filter(|(_, place)| place.rank == rank);
        let tasks = stages.flat_map(|(stage, place)| {
            let task = |micro_batch| Task::new(Work::Forward, place.chunk, micro_batch);
            (0..micro_batches).map(move |micro_batch| (stage + micro_batch, task(micro_batch)))
        });
        let mut tasks: Vec<_> = tasks.collect();
        tasks.sort_by_key(|&(earliest, task)| (earliest, task.micro_batch));
        tasks.into_iter().map(|(_, task)| Step::One(task)).collect()
    }
}
