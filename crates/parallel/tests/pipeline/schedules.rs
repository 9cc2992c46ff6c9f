//! Every schedule, bit for bit.

use std::collections::BTreeMap;

use fp8lm_device::DType;
use fp8lm_parallel::{PipelineShape, Place, Program, Schedule};
use fp8lm_scaling::WireFormat;
use fp8lm_sim::Streams;

use crate::{
    ranks::{Done, Way, run},
    reference::reference,
    toy::End,
};

/// Every schedule on ranks 1 to 8, of few, just enough and more micro-batches.
pub(crate) fn shapes() -> impl Iterator<Item = (Schedule, PipelineShape)> {
    let sizes = (1..=8).flat_map(|ranks| (1..=3).map(move |chunks| (ranks, chunks)));
    let shapes = sizes.flat_map(|(ranks, chunks)| {
        let mut counts = vec![1, 3, ranks, 2 * ranks, 2 * ranks + 2, 3 * ranks];
        counts.sort_unstable();
        counts.dedup();
        counts.into_iter().map(move |micro_batches| PipelineShape { ranks, chunks, micro_batches })
    });
    shapes.flat_map(|shape| {
        let legal = Schedule::ALL.into_iter().filter(move |one| one.check(shape).is_ok());
        legal.map(move |schedule| (schedule, shape))
    })
}

#[test]
fn every_schedule_has_shapes() {
    for schedule in Schedule::ALL {
        let count = shapes().filter(|(one, _)| *one == schedule).count();
        assert!(count >= 8, "{schedule}: {count}");
    }
}

#[test]
fn every_schedule_computes_what_one_rank_does() {
    for (number, (schedule, shape)) in shapes().enumerate() {
        let program = schedule.program(shape).unwrap();
        let seed = number as u64;
        let way =
            Way { dtype: DType::F32, wire: WireFormat::Activations, streams: Streams::InOrder };
        for streams in [Streams::InOrder, Streams::Adversarial { seed }] {
            let done = run(&program, Way { streams, ..way });
            expect_ends(&done, &program, Way { streams, ..way });
            for (rank, done) in done.iter().enumerate() {
                let peak = schedule.peak_activations(shape, rank);
                assert_eq!(done.peak, peak, "{schedule}, {shape:?}, rank {rank}");
            }
        }
    }
}

/// Neither ranks nor chunks nor the schedule change what micro-batches and stages come to.
#[test]
fn no_schedule_changes_a_bit() {
    let shape = |ranks, chunks| PipelineShape { ranks, chunks, micro_batches: 16 };
    let whole = Schedule::Interleaved.program(shape(1, 8)).unwrap();
    let expected = by_stage(&whole, &reference(&whole, DType::F32, WireFormat::Activations));
    let mut seen = 0;
    for (schedule, ranks, chunks) in Schedule::ALL.into_iter().flat_map(|schedule| {
        [(8, 1), (4, 1), (4, 2), (2, 4)].map(|(ranks, chunks)| (schedule, ranks, chunks))
    }) {
        let Ok(program) = schedule.program(shape(ranks, chunks)) else { continue };
        if program.stages() != 8 {
            continue;
        }
        seen += 1;
        let streams = Streams::Adversarial { seed: seen };
        let way = Way { dtype: DType::F32, wire: WireFormat::Activations, streams };
        let ends = run(&program, way).into_iter().flat_map(|done| done.ends).collect();
        assert!(by_stage(&program, &ends) == expected, "{schedule}, {ranks} ranks");
    }
    assert_eq!(seen, 7, "each schedule, and interleaved twice");
}

/// Codes and factors cross between ranks, and only there.
#[test]
fn a_wire_in_fp8_casts_what_crosses_it() {
    for (number, (schedule, shape)) in shapes().enumerate() {
        if shape.ranks > 4 || shape.micro_batches > 2 * shape.ranks {
            continue;
        }
        let program = schedule.program(shape).unwrap();
        let seed = number as u64;
        let streams = [Streams::InOrder, Streams::Adversarial { seed }][number % 2];
        for dtype in [DType::F32, DType::BF16] {
            let way = Way { dtype, wire: WireFormat::E4m3, streams };
            expect_ends(&run(&program, way), &program, way);
        }
    }
}

#[test]
fn activations_in_bf16_cross_as_they_are() {
    let shape = PipelineShape { ranks: 4, chunks: 1, micro_batches: 8 };
    for schedule in Schedule::ALL.into_iter().filter(|schedule| schedule.check(shape).is_ok()) {
        let program = schedule.program(shape).unwrap();
        let streams = Streams::Adversarial { seed: 1 };
        let way = Way { dtype: DType::BF16, wire: WireFormat::Activations, streams };
        expect_ends(&run(&program, way), &program, way);
    }
}

/// Streams that do all in some odd order, and many of these.
#[test]
fn late_streams_change_no_bit() {
    let shape = PipelineShape { ranks: 4, chunks: 1, micro_batches: 8 };
    for schedule in [Schedule::OneFOneB, Schedule::DualPipe, Schedule::DualPipeV] {
        let program = schedule.program(shape).unwrap();
        for seed in 100..130 {
            let wire = [WireFormat::Activations, WireFormat::E4m3][seed as usize % 2];
            let way = Way { dtype: DType::F32, wire, streams: Streams::Adversarial { seed } };
            expect_ends(&run(&program, way), &program, way);
        }
    }
}

fn expect_ends(done: &[Done], program: &Program, way: Way) {
    let expected = reference(program, way.dtype, way.wire);
    for (place, end) in done.iter().flat_map(|done| &done.ends) {
        assert!(*end == expected[place], "{place:?} of {way:?}, {program:?}");
    }
    assert_eq!(done.iter().map(|done| done.ends.len()).sum::<usize>(), expected.len());
}

/// What comes of each stage, over all places that have it: no sum is rounded.
fn by_stage(program: &Program, ends: &BTreeMap<Place, End>) -> Vec<End> {
    let mut stages = vec![End::default(); program.stages()];
    for (place, end) in ends {
        let stage = &mut stages[program.stage(place.rank, place.chunk)];
        stage.outputs.extend(end.outputs.clone());
        stage.input_gradients.extend(end.input_gradients.clone());
        stage.dw.resize(end.dw.len(), 0.0);
        stage.dw.iter_mut().zip(&end.dw).for_each(|(sum, x)| *sum += x);
    }
    stages
}
