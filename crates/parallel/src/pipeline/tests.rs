//! What holds of every schedule, over all shapes that it takes.

use std::collections::BTreeMap;

use super::*;

mod messages;

/// Every schedule with every legal shape of 2 to 16 stages a micro-batch goes through, or ranks of interleaved ones, and
/// twice to four times as many micro-batches.
pub(super) fn shapes() -> impl Iterator<Item = (Schedule, PipelineShape)> {
    Schedule::ALL.into_iter().flat_map(|schedule| {
        let legal = move |shape: &_| schedule.check(*shape).is_ok() && in_range(schedule, *shape);
        all_shapes().filter(legal).map(move |shape| (schedule, shape))
    })
}

fn all_shapes() -> impl Iterator<Item = PipelineShape> {
    let sizes = (1..=16).flat_map(|ranks| (1..=4).map(move |chunks| (ranks, chunks)));
    sizes.flat_map(|(ranks, chunks)| {
        let shape = move |micro_batches| PipelineShape { ranks, chunks, micro_batches };
        (2 * ranks..=8 * ranks).map(shape)
    })
}

fn in_range(schedule: Schedule, shape: PipelineShape) -> bool {
    let stages = schedule.stages(shape) / shape.chunks;
    (2..=16).contains(&stages) && (2 * stages..=4 * stages).contains(&shape.micro_batches)
}

#[test]
fn every_stage_does_all_work_with_every_micro_batch_once() {
    for (schedule, shape) in shapes() {
        let program = schedule.program(shape).unwrap();
        let mut counts = BTreeMap::new();
        for rank in 0..program.ranks() {
            for task in program.tasks(rank) {
                let (stage, batch) = (program.stage(rank, task.chunk), task.micro_batch);
                let place = Place { rank, chunk: task.chunk };
                assert_eq!(program.path(batch)[stage], place, "{schedule}, {shape:?}: {task}");
                let [forward, input, weight] = counts.entry((stage, batch)).or_insert([0; 3]);
                *forward += usize::from(task.work == Work::Forward);
                *input += usize::from(task.work.makes_input_gradient());
                *weight += usize::from(task.work.makes_weight_gradient());
            }
        }
        assert_eq!(counts.len(), program.stages() * shape.micro_batches, "{schedule}, {shape:?}");
        assert!(counts.values().all(|count| *count == [1; 3]), "{schedule}, {shape:?}");
    }
}

#[test]
fn a_chunk_takes_micro_batches_in_their_order() {
    for (schedule, shape) in shapes() {
        let program = schedule.program(shape).unwrap();
        for rank in 0..program.ranks() {
            for chunk in 0..program.chunks(rank) {
                let makes: [fn(Work) -> bool; 3] = [
                    |work| work == Work::Forward,
                    Work::makes_input_gradient,
                    Work::makes_weight_gradient,
                ];
                for makes in makes {
                    let tasks = program.tasks(rank).filter(|task| task.chunk == chunk);
                    let batches: Vec<_> = tasks
                        .filter(|task| makes(task.work))
                        .map(|task| task.micro_batch)
                        .collect();
                    assert!(batches.is_sorted(), "{schedule}, {shape:?}, rank {rank}: {batches:?}");
                }
            }
        }
    }
}

#[test]
fn bubbles_and_peaks_of_activations_are_those_of_the_formulas() {
    // Whole numbers, and a multiple of every number of chunks, so that sums are exact.
    let costs = [[12, 24, 12, 36], [12, 24, 12, 30], [24, 48, 24, 48], [36, 60, 24, 84]];
    for (schedule, shape) in shapes() {
        let program = schedule.program(shape).unwrap();
        for costs in costs {
            let [forward, backward, weight, overlapped] = costs.map(f64::from);
            let costs = Costs { forward, backward, weight, overlapped };
            let timeline = Timeline::new(&program, costs).unwrap();
            let bubble = schedule.bubble(shape, costs);
            assert_eq!(timeline.bubble(), bubble, "{schedule}, {shape:?}, {costs:?}");
            for rank in 0..program.ranks() {
                let peak = schedule.peak_activations(shape, rank);
                assert_eq!(timeline.peak_activations(rank), peak, "{schedule}, {shape:?}, {rank}");
            }
        }
    }
}

#[test]
fn ranks_that_wait_for_one_another_are_named() {
    let shape = PipelineShape { ranks: 2, chunks: 1, micro_batches: 1 };
    let steps = |works: [Work; 2]| works.map(|work| Step::One(Task::new(work, 0, 0))).to_vec();
    let path = vec![Place { rank: 0, chunk: 0 }, Place { rank: 1, chunk: 0 }];
    let turned = steps([Work::Backward, Work::Forward]);
    let program = Program::new(shape, vec![path], vec![turned.clone(), turned]);
    let sentence = Timeline::new(&program, COSTS).unwrap_err().to_string();
    let waits = "a pipeline comes to a halt: \
        rank 0 waits with the backward of micro-batch 0 at chunk 0 for chunk 0 of rank 1; \
        rank 1 waits with the backward of micro-batch 0 at chunk 0 for chunk 0 of rank 1";
    assert_eq!(sentence, waits);
}

#[test]
fn evaluation_goes_forward_along_the_first_path() {
    for (schedule, shape) in shapes().filter(|(_, shape)| shape.ranks <= 4) {
        let program = schedule.program(shape).unwrap();
        for micro_batches in [0, 1, 2, 7] {
            let forwards = program.forwards(micro_batches);
            Timeline::new(&forwards, COSTS).unwrap();
            let tasks = (0..shape.ranks).map(|rank| forwards.tasks(rank).count()).sum::<usize>();
            assert_eq!(tasks, program.stages() * micro_batches, "{schedule}, {shape:?}");
            for micro_batch in 0..micro_batches {
                assert_eq!(forwards.path(micro_batch), program.path(0), "{schedule}, {shape:?}");
            }
        }
    }
}

#[test]
fn names_are_those_of_configurations() {
    for schedule in Schedule::ALL {
        assert_eq!(schedule.name().parse(), Ok(schedule));
        let text = serde_json::to_string(&schedule).unwrap();
        assert_eq!(text, format!("\"{schedule}\""));
    }
    let sentence = "1f2b".parse::<Schedule>().unwrap_err().to_string();
    assert!(sentence.starts_with("no schedule `1f2b`: expected one of gpipe, 1f1b"), "{sentence}");
}

const COSTS: Costs = Costs { forward: 1.0, backward: 2.0, weight: 1.0, overlapped: 3.0 };
