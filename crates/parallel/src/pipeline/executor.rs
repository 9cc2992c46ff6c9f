//! Programs carried out: each rank does its tasks, and hands on what comes of them.

use fp8lm_collectives::Channel;
use fp8lm_device::{DType, Queue, Result, Shape, Tensor};
use fp8lm_scaling::WireFormat;

use super::{
    Place, Program, Stage, Task,
    inbox::{Address, Inbox},
    message::Post,
    stage::perform,
};
use crate::Error;

/// One rank's part in a pipeline.
///
/// Results go to other ranks beside the work that follows, and come from them in the order in which they were sent.
/// Stages of one rank hand them over as they are. With [`WireFormat::Activations`] they are the same bits on the other
/// side, so neither ranks nor schedule change what a stage computes of a micro-batch.
///
/// Two stages that double what comes to them, on two ranks:
///
/// ```
/// use fp8lm_collectives::{Algorithm, Composed};
/// use fp8lm_device::{DType, Label, Queue, Result, Tensor};
/// use fp8lm_ops as ops;
/// use fp8lm_parallel::{PIPELINE, Pipeline, PipelineShape, Schedule, Stage};
/// use fp8lm_scaling::WireFormat;
/// use fp8lm_sim::{Emulator, Rank, World, WorldOptions};
///
/// struct Double {
///     rank: usize,
///     ends: Vec<Tensor>,
/// }
///
/// impl Stage for Double {
///     fn forward(&mut self, queue: &Queue, micro_batch: usize, x: Option<Tensor>) -> Result<Option<Tensor>> {
///         let input = || queue.upload(&[micro_batch as f32, 1.0], [1, 2], Label("example"));
///         let x = x.map_or_else(input, Ok)?;
///         let y = ops::add(queue, &x, &x)?;
///         // The last stage keeps what it makes.
///         Ok(if self.rank == 0 { Some(y) } else { self.ends.push(y); None })
///     }
///
///     fn backward(&mut self, queue: &Queue, micro_batch: usize, dy: Option<Tensor>) -> Result<Option<Tensor>> {
///         let dy = dy.unwrap_or_else(|| self.ends[micro_batch].clone());
///         let dx = ops::add(queue, &dy, &dy)?;
///         Ok(if self.rank == 1 { Some(dx) } else { self.ends.push(dx); None })
///     }
///
///     fn input_gradient(&mut self, queue: &Queue, micro_batch: usize, dy: Option<Tensor>) -> Result<Option<Tensor>> {
///         self.backward(queue, micro_batch, dy)
///     }
///
///     fn weight_gradient(&mut self, _: &Queue, _: usize) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let shape = PipelineShape { ranks: 2, chunks: 1, micro_batches: 3 };
/// let program = Schedule::OneFOneB.program(shape)?;
/// let world = World::new(&Emulator::default(), WorldOptions { ranks: 2, ..Default::default() });
/// let ends = world.run(|Rank { device, link }| -> Result<_> {
///     let (rank, queue) = (link.rank(), Queue::new(device)?);
///     let channel = Composed::new(link, &queue, Algorithm::default())?.channel(&[0, 1], PIPELINE)?;
///     let pipeline = Pipeline::new(&queue, Some(&channel), [1, 2], DType::F32, WireFormat::Activations)?;
///
///     let mut stage = Double { rank, ends: Vec::new() };
///     pipeline.run(&queue, &program, &mut [&mut stage])?;
///     stage.ends.iter().map(|end| queue.download::<f32>(end)).collect::<Result<Vec<_>>>()
/// });
/// let ends = ends.expect("ranks that agree");
/// assert_eq!(ends[1], [[0.0, 4.0], [4.0, 4.0], [8.0, 4.0]]);
/// assert_eq!(ends[0], [[0.0, 16.0], [16.0, 16.0], [32.0, 16.0]]);
/// # Ok::<(), fp8lm_parallel::Error>(())
/// ```
#[derive(Debug)]
pub struct Pipeline {
    /// None where one rank has all stages.
    post: Option<Post>,
}

impl Pipeline {
    /// A pipeline over `ranks`, or on one alone, that hands on tensors of one shape and type. All ranks name the same.
    pub fn new(
        queue: &Queue,
        ranks: Option<&Channel>,
        shape: impl Into<Shape>,
        dtype: DType,
        wire: WireFormat,
    ) -> Result<Self> {
        let shape = shape.into();
        let post = ranks.map(|ranks| Post::new(queue, ranks, shape, dtype, wire)).transpose()?;
        Ok(Self { post })
    }

    /// Does this rank's tasks, in order, at its `stages`, one for each chunk. All ranks run the same program. Waits for
    /// results of other ranks as their link does.
    ///
    /// # Errors
    /// If the program is for other ranks or stages, a stage does not return what it should, or a stage or the link
    /// fails.
    pub fn run(
        &self,
        queue: &Queue,
        program: &Program,
        stages: &mut [&mut dyn Stage],
    ) -> Result<()> {
        let rank = self.post.as_ref().map_or(0, Post::rank);
        self.check(program, stages.len()).map_err(|error| error.of(OPERATION))?;
        let inbox = Inbox::new(program, rank);
        let mut run = Run { queue, post: self.post.as_ref(), program, rank, inbox };
        program.tasks(rank).try_for_each(|task| run.perform(task, &mut *stages[task.chunk]))
    }

    fn check(&self, program: &Program, stages: usize) -> crate::Result<()> {
        let [ranks, rank] = self.post.as_ref().map_or([1, 0], |post| [post.size(), post.rank()]);
        if program.ranks() != ranks {
            return Err(Error::ProgramRanks { program: program.ranks(), ranks });
        }
        let chunks = program.chunks(rank);
        if chunks == stages { Ok(()) } else { Err(Error::Stages { rank, chunks, stages }) }
    }
}

/// A program under way.
struct Run<'a> {
    queue: &'a Queue,
    post: Option<&'a Post>,
    program: &'a Program,
    rank: usize,
    inbox: Inbox,
}

impl Run<'_> {
    fn perform(&mut self, task: Task, stage: &mut dyn Stage) -> Result<()> {
        let source = self.program.source(self.rank, task);
        let input =
            source.map(|Place { rank, .. }| self.inbox.take(self.queue, self.post, rank, task));
        let result = perform(stage, self.queue, task, input.transpose()?)?;
        self.hand_on(task, result)
    }

    fn hand_on(&mut self, task: Task, result: Option<Tensor>) -> Result<()> {
        let (rank, target) = (self.rank, self.program.target(self.rank, task));
        let (to, result) = match (target, result) {
            (None, None) => return Ok(()),
            (Some(to), Some(result)) => (to, result),
            (_, result) => {
                let is_due = result.is_none();
                return Err(Error::Result { rank, task, is_due }.of(OPERATION));
            }
        };
        if let Some(post) = self.post {
            post.expect(&result)?;
            if to.rank != rank {
                return post.send(self.queue, to.rank, &result);
            }
        }
        self.inbox.hand_over(Address::of_result(task, to.chunk), result);
        Ok(())
    }
}

const OPERATION: &str = "pipeline";
