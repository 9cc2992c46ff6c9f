//! Evaluation: forward passes alone.

use std::{cell::Cell, rc::Rc};

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{DType, Queue, Result};
use fp8lm_parallel::{PIPELINE, Pipeline, PipelineShape, Program, Schedule};
use fp8lm_scaling::WireFormat;
use fp8lm_sim::{Rank, Streams};

use crate::{
    ranks::{stages, toys, world},
    toy::{End, SHAPE, Toy},
};

#[test]
fn a_program_of_forwards_computes_all_outputs() {
    for (ranks, chunks) in [(1, 1), (2, 1), (4, 1), (4, 2)] {
        let shape = PipelineShape { ranks, chunks, micro_batches: 2 * ranks };
        for schedule in Schedule::ALL.into_iter().filter(|schedule| schedule.check(shape).is_ok()) {
            let program = schedule.program(shape).unwrap();
            let whole = PipelineShape { ranks: 1, chunks: program.stages(), micro_batches: 1 };
            let one = if program.stages() == 1 { Schedule::Gpipe } else { Schedule::Interleaved };
            let whole = one.program(whole).unwrap();
            for count in [1, 5] {
                let expected = look(&whole.forwards(count), Streams::InOrder);
                assert_eq!(expected.len(), count);
                for streams in [Streams::InOrder, Streams::Adversarial { seed: count as u64 }] {
                    let got = look(&program.forwards(count), streams);
                    assert!(got == expected, "{schedule}, {shape:?}, {count}, {streams:?}");
                }
            }
        }
    }
}

/// The outputs of the last stage, by micro-batch.
fn look(program: &Program, streams: Streams) -> Vec<(usize, Vec<u8>)> {
    let ends = world(program.ranks(), streams).run(|Rank { device, link }| -> Result<_> {
        let (rank, queue) = (link.rank(), Queue::new(device)?);
        let group = Composed::new(link, &queue, Algorithm::default())?;
        let channel = group.channel(&(0..program.ranks()).collect::<Vec<_>>(), PIPELINE)?;
        let wire = WireFormat::Activations;
        let pipeline = Pipeline::new(&queue, Some(&channel), SHAPE, DType::F32, wire)?;
        let held = Rc::<Cell<_>>::default();
        let toys = toys(&queue, program, rank, (DType::F32, &held))?;
        let mut toys: Vec<_> = toys.into_iter().map(Toy::looking).collect();
        pipeline.run(&queue, program, &mut stages(&mut toys))?;
        toys.iter().map(|toy| toy.end(&queue)).collect::<Result<Vec<End>>>()
    });
    ends.unwrap().into_iter().flatten().flat_map(|end| end.outputs).collect()
}
