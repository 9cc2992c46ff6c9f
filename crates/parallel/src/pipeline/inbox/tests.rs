//! Messages that are needed in another order than they come in.

use std::collections::HashSet;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{DType, Label};
use fp8lm_scaling::WireFormat;
use fp8lm_sim::{Emulator, Rank, Streams, World, WorldOptions};

use super::*;
use crate::{PIPELINE, Pipeline, PipelineShape, Schedule, Stage, Step, pipeline::tests::shapes};

/// A stage that makes micro-batches known by their numbers, and notes what comes.
#[derive(Default)]
struct Noting {
    rank: usize,
    inputs: Vec<(usize, Tensor)>,
}

impl Noting {
    /// 10 times the number of the micro-batch, and one more for a gradient.
    fn note(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        input: Option<Tensor>,
        is_gradient: bool,
    ) -> Result<Option<Tensor>> {
        self.inputs.extend(input.map(|input| (micro_batch, input)));
        if (self.rank == 1) != is_gradient {
            return Ok(None);
        }
        let value = 10.0 * micro_batch as f32 + f32::from(u8::from(is_gradient));
        queue.upload(&[value], [1, 1], Label("test")).map(Some)
    }
}

impl Stage for Noting {
    fn forward(&mut self, queue: &Queue, m: usize, x: Option<Tensor>) -> Result<Option<Tensor>> {
        self.note(queue, m, x, false)
    }

    fn backward(&mut self, queue: &Queue, m: usize, dy: Option<Tensor>) -> Result<Option<Tensor>> {
        self.note(queue, m, dy, true)
    }

    fn input_gradient(
        &mut self,
        queue: &Queue,
        m: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        self.backward(queue, m, dy)
    }

    fn weight_gradient(&mut self, _: &Queue, _: usize) -> Result<()> {
        Ok(())
    }
}

#[test]
fn what_comes_early_is_kept() {
    let all = |work, order: &[usize]| -> Vec<_> {
        order.iter().map(|&micro_batch| Step::One(Task::new(work, 0, micro_batch))).collect()
    };
    let path = [0, 1].map(|rank| Place { rank, chunk: 0 }).to_vec();
    let first = [all(Work::Forward, &[0, 1, 2, 3]), all(Work::Backward, &[0, 3, 2, 1])].concat();
    let last =
        [all(Work::Forward, &[3, 1, 0, 2]), all(Work::InputGradient, &[1, 2, 3, 0])].concat();
    let shape = PipelineShape { ranks: 2, chunks: 1, micro_batches: 4 };
    let program = Program::new(shape, vec![path], vec![first, last]);

    for streams in [Streams::InOrder, Streams::Adversarial { seed: 4 }] {
        let options = WorldOptions { ranks: 2, streams, ..WorldOptions::default() };
        let noted = World::new(&Emulator::default(), options).run(|rank| note(rank, &program));
        let forward = [(3, 30.0), (1, 10.0), (0, 0.0), (2, 20.0)];
        let backward = [(0, 1.0), (3, 31.0), (2, 21.0), (1, 11.0)];
        assert_eq!(noted.unwrap(), [backward, forward]);
    }
}

fn note(Rank { device, link }: Rank, program: &Program) -> Result<Vec<(usize, f32)>> {
    let (rank, queue) = (link.rank(), Queue::new(device)?);
    let group = Composed::new(link, &queue, Algorithm::default())?;
    let channel = group.channel(&[0, 1], PIPELINE)?;
    let pipeline =
        Pipeline::new(&queue, Some(&channel), [1, 1], DType::F32, WireFormat::Activations)?;
    let mut stage = Noting { rank, ..Noting::default() };
    pipeline.run(&queue, program, &mut [&mut stage])?;
    let inputs = stage.inputs.iter().map(|(m, input)| Ok((*m, queue.download::<f32>(input)?[0])));
    inputs.collect()
}

/// The most tensors that a rank has received and not taken yet, over all ranks.
fn most_kept(program: &Program) -> usize {
    let kept = |rank| {
        let mut expected = Inbox::new(program, rank).expected;
        let (mut kept, mut most) = (HashSet::new(), 0);
        for task in program.tasks(rank) {
            let source = program.source(rank, task).filter(|source| source.rank != rank);
            let Some(Place { rank: from, .. }) = source else { continue };
            let address = Address::of_input(task);
            while !kept.remove(&address) {
                kept.insert(expected[from].pop_front().unwrap());
            }
            most = most.max(kept.len());
        }
        assert!(kept.is_empty() && expected.iter().all(VecDeque::is_empty));
        most
    };
    (0..program.ranks()).map(kept).max().unwrap()
}

/// What a rank's memory needs beyond what its stages hold.
#[test]
fn schedules_that_come_from_two_ends_keep_one_tensor_and_others_none() {
    let mut most = HashMap::new();
    for (schedule, shape) in shapes() {
        let kept = most_kept(&schedule.program(shape).unwrap());
        let most = most.entry(schedule).or_insert(0);
        *most = kept.max(*most);
    }
    for schedule in Schedule::ALL {
        let has_two_ends = matches!(schedule, Schedule::DualPipe | Schedule::DualPipeV);
        assert_eq!(most[&schedule], usize::from(has_two_ends), "{schedule}");
    }
}
