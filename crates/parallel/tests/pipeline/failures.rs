//! Stages that fail, ranks that are no more, and programs that do not fit.

use std::sync::Mutex;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{DType, Error, LinkError, Queue, Result, Tensor};
use fp8lm_parallel::{PIPELINE, Pipeline, PipelineShape, Program, Schedule, Stage};
use fp8lm_scaling::WireFormat;
use fp8lm_sim::{Rank, RunError, Streams};

use crate::{
    ranks::{stages, toys, world},
    toy::{SHAPE, TEST, Toy},
};

/// What a stage does at one micro-batch instead of its gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    Error,
    Panic,
    Nothing,
    Something,
    Narrow,
}

struct Clumsy<'a> {
    toy: &'a mut Toy,
    mishap: Mishap,
}

impl Stage for Clumsy<'_> {
    fn forward(&mut self, queue: &Queue, m: usize, x: Option<Tensor>) -> Result<Option<Tensor>> {
        self.toy.forward(queue, m, x)
    }

    fn backward(&mut self, queue: &Queue, m: usize, dy: Option<Tensor>) -> Result<Option<Tensor>> {
        let dx = self.toy.backward(queue, m, dy)?;
        match self.mishap {
            _ if m != 2 => Ok(dx),
            Mishap::Error => Err(Error::UnknownKernel { kernel: "sums" }),
            Mishap::Panic => panic!("one too many"),
            Mishap::Nothing => Ok(None),
            Mishap::Something => queue.alloc(DType::F32, SHAPE, TEST).map(Some),
            Mishap::Narrow => queue.alloc(DType::BF16, SHAPE, TEST).map(Some),
        }
    }

    fn input_gradient(
        &mut self,
        queue: &Queue,
        m: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        self.toy.input_gradient(queue, m, dy)
    }

    fn weight_gradient(&mut self, queue: &Queue, m: usize) -> Result<()> {
        self.toy.weight_gradient(queue, m)
    }
}

#[test]
fn a_stage_that_fails_ends_all_ranks_with_one_error() {
    let task = "of a pipeline, backward of micro-batch 2 at chunk 0: expected";
    let kernel = "kernel `sums` is unknown to this device".to_owned();
    let shape = "`result of a stage` must be f32[3, 150], and it is bf16[3, 150]";
    assert_eq!([fail(Mishap::Error, 2), fail(Mishap::Error, 0)], [kernel.clone(), kernel]);
    let nothing = format!("pipeline: rank 2 {task} a result, got none");
    assert_eq!(fail(Mishap::Nothing, 2), nothing);
    let something = format!("pipeline: rank 0 {task} no result, got one");
    assert_eq!(fail(Mishap::Something, 0), something);
    assert_eq!(fail(Mishap::Narrow, 2), format!("pipeline: {shape}"));
    assert_eq!(fail(Mishap::Panic, 1), "it panicked: one too many");
}

/// What rank `culprit` ends with, after all others have heard of it.
fn fail(mishap: Mishap, culprit: usize) -> String {
    let shape = PipelineShape { ranks: 4, chunks: 1, micro_batches: 8 };
    let program = Schedule::OneFOneB.program(shape).unwrap();
    let mut reasons = Vec::new();
    for streams in [Streams::InOrder, Streams::Adversarial { seed: 9 }] {
        let heard = Mutex::new(Vec::new());
        let run = world(4, streams).run(|rank| {
            let mishap = (rank.link.rank() == culprit).then_some(mishap);
            let end = act(rank, &program, mishap);
            if let Err(Error::Link(error)) = &end {
                heard.lock().unwrap().push(error.clone());
            }
            end
        });
        match run {
            Err(RunError::Failed { rank, .. } | RunError::Panicked { rank, .. }) => {
                assert_eq!(rank, culprit);
            }
            other => panic!("{other:?}"),
        }
        let heard = heard.into_inner().unwrap();
        assert_eq!(heard.len(), 3, "{heard:?}");
        for error in heard {
            let LinkError::RankFailed { rank, reason } = error else { panic!("{error}") };
            assert_eq!(rank, culprit);
            reasons.push(reason);
        }
    }
    assert!(reasons.iter().all(|reason| *reason == reasons[0]), "{reasons:?}");
    reasons.remove(0)
}

fn act(Rank { device, link }: Rank, program: &Program, mishap: Option<Mishap>) -> Result<()> {
    let (rank, queue) = (link.rank(), Queue::new(device)?);
    let group = Composed::new(link, &queue, Algorithm::default())?;
    let channel = group.channel(&(0..program.ranks()).collect::<Vec<_>>(), PIPELINE)?;
    let wire = WireFormat::Activations;
    let pipeline = Pipeline::new(&queue, Some(&channel), SHAPE, DType::F32, wire)?;
    let mut toys = toys(&queue, program, rank, (DType::F32, &Default::default()))?;
    match mishap {
        None => pipeline.run(&queue, program, &mut stages(&mut toys))?,
        Some(mishap) => {
            let mut clumsy = Clumsy { toy: &mut toys[0], mishap };
            pipeline.run(&queue, program, &mut [&mut clumsy])?;
        }
    }
    // Everybody needs everybody here, so that nobody ends before it has heard.
    group.channel(&(0..program.ranks()).collect::<Vec<_>>(), PIPELINE)?;
    queue.synchronize()
}

#[test]
fn a_rank_that_is_no_more_ends_all() {
    let shape = PipelineShape { ranks: 4, chunks: 1, micro_batches: 8 };
    for schedule in Schedule::ALL.into_iter().filter(|schedule| schedule.check(shape).is_ok()) {
        let program = schedule.program(shape).unwrap();
        for gone in 0..4 {
            let run = world(4, Streams::InOrder).run(|rank| match rank.link.rank() == gone {
                true => Ok(()),
                false => act(rank, &program, None),
            });
            let error = run.unwrap_err().to_string();
            assert!(error.contains(&format!("rank {gone} has ended")), "{schedule}: {error}");
        }
    }
}

#[test]
fn a_program_that_does_not_fit_is_refused() {
    let program = |ranks, chunks| {
        let shape = PipelineShape { ranks, chunks, micro_batches: 2 * ranks };
        Schedule::Interleaved.program(shape).unwrap()
    };
    let told = world(1, Streams::InOrder).run(|Rank { device, link }| {
        let queue = Queue::new(device)?;
        let group = Composed::new(link, &queue, Algorithm::default())?;
        let channel = group.channel(&[0], PIPELINE)?;
        let wire = WireFormat::Activations;
        let pipeline = Pipeline::new(&queue, Some(&channel), SHAPE, DType::F32, wire)?;
        let run =
            |program: &Program| pipeline.run(&queue, program, &mut []).unwrap_err().to_string();
        Ok::<_, Error>([run(&program(2, 2)), run(&program(1, 3))])
    });
    let expected = [
        "pipeline: a program of 2 ranks in a pipeline of 1",
        "pipeline: rank 0 of a pipeline has 3 stages, got 0",
    ];
    assert_eq!(told.unwrap(), [expected]);
}
