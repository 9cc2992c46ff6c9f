//! What holds of every schedule, over all shapes that it takes.

use std::collections::BTreeMap;

use super::*;

mod messages;

/// Every schedule with every legal shape of 2 to 16 stages, or as many ranks of several chunks, and twice to four times
/// as many micro-batches.
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

fn small_shapes() -> impl Iterator<Item = PipelineShape> {
    let few = |shape: &PipelineShape| shape.ranks <= 6 && shape.micro_batches <= 4 * shape.ranks;
    let fewer = (1..=6).flat_map(|ranks| {
        let shape = move |micro_batches| PipelineShape { ranks, chunks: 1, micro_batches };
        (1..2 * ranks).map(shape)
    });
    all_shapes().filter(few).chain(fewer)
}

fn all_costs() -> impl Iterator<Item = Costs> {
    let parts = (1..=4).flat_map(|forward| (1..=4).map(move |input| (forward, input)));
    parts.flat_map(|(forward, input)| {
        (1..=4).flat_map(move |weight| {
            (0..=forward.min(input + weight)).map(move |saved| costs(forward, input, weight, saved))
        })
    })
}

/// Multiples of 12, so that they can be divided by any number of chunks, and all sums are exact. What overlaps takes so
/// much less than one after the other.
fn costs(forward: u32, input: u32, weight: u32, saved: u32) -> Costs {
    let backward = input + weight;
    let [forward, backward, weight, overlapped] =
        [forward, backward, weight, forward + backward - saved].map(|cost| f64::from(12 * cost));
    Costs { forward, backward, weight, overlapped }
}

fn in_range(schedule: Schedule, shape: PipelineShape) -> bool {
    let stages = schedule.stages(shape) / shape.chunks;
    (2..=16).contains(&stages) && (2 * stages..=4 * stages).contains(&shape.micro_batches)
}

#[test]
fn every_schedule_has_shapes() {
    for schedule in Schedule::ALL {
        let shapes: Vec<_> =
            shapes().filter(|(other, _)| *other == schedule).map(|(_, shape)| shape).collect();
        let largest = shapes.iter().map(|&shape| schedule.stages(shape)).max();
        assert!(largest.is_some_and(|stages| stages >= 16), "{schedule}: {shapes:?}");
        assert!(shapes.len() >= 40, "{schedule}: {shapes:?}");
    }
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
    for (schedule, shape) in shapes() {
        let program = schedule.program(shape).unwrap();
        for costs in [costs(1, 1, 1, 1), costs(1, 1, 1, 0), costs(3, 3, 2, 1), costs(2, 3, 1, 1)] {
            let timeline = Timeline::new(&program, costs).unwrap();
            if schedule.bubble_is_exact(shape, costs) {
                let bubble = schedule.bubble(shape, costs);
                assert_eq!(timeline.bubble(), bubble, "{schedule}, {shape:?}, {costs:?}");
            }
            for rank in 0..program.ranks() {
                let peak = schedule.peak_activations(shape, rank);
                assert_eq!(timeline.peak_activations(rank), peak, "{schedule}, {shape:?}, {rank}");
            }
        }
    }
}

/// All ratios of up to 4 to 1, over few ranks; fewer micro-batches than ranks too.
#[test]
fn a_formula_holds_for_all_costs_that_it_claims() {
    for schedule in Schedule::ALL {
        let mut held = 0;
        for shape in small_shapes().filter(|&shape| schedule.check(shape).is_ok()) {
            let program = schedule.program(shape).unwrap();
            for costs in all_costs().filter(|&costs| schedule.bubble_is_exact(shape, costs)) {
                let timeline = Timeline::new(&program, costs).unwrap();
                let bubble = schedule.bubble(shape, costs);
                assert_eq!(timeline.bubble(), bubble, "{schedule}, {shape:?}, {costs:?}");
                held += 1;
            }
        }
        assert!(held >= 100, "{schedule}: {held}");
    }
}

/// What publications say of 16 stages; and what comes of costs of which one formula does not hold, and another only as
/// we have it.
#[test]
fn figures_that_are_known() {
    let bubbles = |ranks, micro_batches, costs| {
        move |schedule: Schedule| {
            let shape = PipelineShape { ranks, chunks: 1, micro_batches };
            let timeline = Timeline::new(&schedule.program(shape).unwrap(), costs).unwrap();
            [timeline.bubble() / 12.0, schedule.bubble(shape, costs) / 12.0]
        }
    };
    let plain = costs(1, 1, 1, 0);
    assert_eq!(bubbles(16, 32, plain)(Schedule::OneFOneB), [45.0; 2]);
    assert_eq!(bubbles(16, 32, plain)(Schedule::ZbH1), [15.0; 2]);
    assert_eq!(bubbles(16, 32, plain)(Schedule::DualPipe), [14.0; 2]);
    assert_eq!(bubbles(8, 32, plain)(Schedule::DualPipeV), [14.0; 2]);

    assert_eq!(bubbles(8, 16, costs(1, 2, 2, 0))(Schedule::DualPipe), [8.0, 9.0]);
    assert_eq!(bubbles(8, 16, costs(5, 2, 2, 2))(Schedule::DualPipe), [24.0, 15.0]);
    assert_eq!(bubbles(5, 10, costs(1, 2, 3, 0))(Schedule::ZbH1), [8.0; 2]);
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

#[test]
fn what_a_schedule_cannot_be_is_told() {
    let cases = [
        (Schedule::OneFOneB, [0, 1, 8], "parallel.pipeline = 0: schedule 1f1b takes at least 1"),
        (Schedule::Gpipe, [2, 0, 8], "parallel.chunks = 0: schedule gpipe takes at least 1"),
        (Schedule::ZbH1, [2, 1, 0], "data.micro_batches = 0: schedule zb-h1 takes at least 1"),
        (
            Schedule::ZbH1,
            [2, 3, 8],
            "parallel.chunks = 3: schedule zb-h1 takes 1; `interleaved` alone takes more",
        ),
        (
            Schedule::Interleaved,
            [4, 1, 8],
            "parallel.chunks = 1: schedule interleaved takes at least 2",
        ),
        (
            Schedule::Interleaved,
            [4, 2, 9],
            "data.micro_batches = 9: schedule interleaved takes multiples of 4, such as 12",
        ),
        (
            Schedule::DualPipe,
            [3, 1, 8],
            "parallel.pipeline = 3: schedule dualpipe takes multiples of 2, such as 4",
        ),
        (
            Schedule::DualPipe,
            [4, 1, 6],
            "data.micro_batches = 6: schedule dualpipe takes at least 8",
        ),
        (
            Schedule::DualPipe,
            [4, 1, 9],
            "data.micro_batches = 9: schedule dualpipe takes multiples of 2, such as 10",
        ),
        (
            Schedule::DualPipe,
            [usize::MAX - 1, 1, 9],
            "data.micro_batches = 9: schedule dualpipe takes at least 18446744073709551615",
        ),
        (
            Schedule::DualPipeV,
            [4, 1, 7],
            "data.micro_batches = 7: schedule dualpipe-v takes at least 8",
        ),
    ];
    for (schedule, [ranks, chunks, micro_batches], sentence) in cases {
        let shape = PipelineShape { ranks, chunks, micro_batches };
        assert_eq!(schedule.check(shape).unwrap_err().to_string(), sentence);
        assert!(schedule.program(shape).is_err());
    }
}

const COSTS: Costs = Costs { forward: 1.0, backward: 2.0, weight: 1.0, overlapped: 3.0 };
