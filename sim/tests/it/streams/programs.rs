//! Random programs on several streams, with every wait that they need, and with one too few.

use std::{collections::BTreeSet, ops::Range};

use super::*;

#[test]
fn programs_that_wait_have_the_bits_of_streams_in_order() {
    for number in 0..40 {
        let program = Program::new(number);
        let expected = program.run(in_order(), None);
        for seed in 0..5 {
            assert_eq!(program.run(queue(seed), None), expected, "seed {seed}, {program:?}");
        }
    }
}

#[test]
fn a_wait_is_missed_if_it_makes_a_difference() {
    let mut found = 0;
    for number in 0..40 {
        let program = Program::new(number);
        let expected = program.run(in_order(), None);
        for wait in program.waits().into_iter().step_by(3) {
            let makes_difference = program.advanced(wait).run(in_order(), None) != expected;
            let seeds = if makes_difference { 0..30 } else { 0..2 };
            let is_found = { seeds }.any(|seed| program.run(queue(seed), Some(wait)) != expected);
            assert!(is_found || !makes_difference, "{wait:?} is not missed in {program:?}");
            assert!(
                !is_found || !program.needs(wait).contains(&wait.earlier),
                "{wait:?}, {program:?}"
            );
            found += usize::from(is_found);
        }
    }
    assert!(found > 100, "{found} waits were missed");
}

fn in_order() -> Queue {
    Queue::new(Arc::new(emulator().sibling())).expect("an emulator has streams")
}

/// Additions on random streams; each waits for what it conflicts with.
#[derive(Debug)]
struct Program {
    steps: Vec<Step>,
}

/// A step that waits for an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    earlier: usize,
    later: usize,
}

#[derive(Clone, Debug)]
struct Step {
    stream: usize,
    reads: [usize; 2],
    writes: usize,
    /// The steps to wait for.
    after: Vec<usize>,
}

impl Program {
    fn new(number: u64) -> Self {
        let mut state = number;
        let mut choose = |range: Range<usize>| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            range.start + (state >> 33) as usize % range.len()
        };
        let mut steps = Vec::<Step>::new();
        for _ in 0..30 {
            let writes = choose(0..TENSORS);
            let reads = [1, 2].map(|_| (writes + choose(1..TENSORS)) % TENSORS);
            let mut step = Step { stream: choose(0..STREAMS), reads, writes, after: Vec::new() };
            let conflicts = steps.iter().enumerate().filter(|(_, before)| step.conflicts(before));
            step.after = conflicts.map(|(index, _)| index).collect();
            steps.push(step);
        }
        Self { steps }
    }

    fn waits(&self) -> Vec<Wait> {
        let steps = self.steps.iter().enumerate();
        let waits = steps.flat_map(|(later, step)| {
            step.after.iter().map(move |&earlier| Wait { earlier, later })
        });
        waits.collect()
    }

    /// What still comes before the later step when the wait is forgotten, by its stream or by other waits.
    fn needs(&self, wait: Wait) -> BTreeSet<usize> {
        let mut needs = BTreeSet::from([wait.later]);
        for later in (0..=wait.later).rev() {
            if needs.contains(&later) {
                needs.extend(
                    (0..later).filter(|&earlier| self.follows(Wait { earlier, later }, wait)),
                );
            }
        }
        needs.remove(&wait.later);
        needs
    }

    /// Whether one step directly follows another though a wait is forgotten.
    fn follows(&self, pair: Wait, forgotten: Wait) -> bool {
        let (earlier, later) = (&self.steps[pair.earlier], &self.steps[pair.later]);
        let awaits = later.after.contains(&pair.earlier) && pair != forgotten;
        awaits || earlier.stream == later.stream
    }

    /// The program with the later step as early as it may be without the wait.
    fn advanced(&self, wait: Wait) -> Self {
        let needs = self.needs(wait);
        let (mut first, rest): (Vec<_>, Vec<_>) = (0..self.steps.len())
            .filter(|step| *step != wait.later)
            .partition(|step| needs.contains(step));
        first.push(wait.later);
        let steps = first.into_iter().chain(rest).map(|step| self.steps[step].clone());
        // In order no wait is needed.
        Self { steps: steps.map(|step| Step { after: Vec::new(), ..step }).collect() }
    }

    /// What is in all tensors at the end, if one wait is forgotten.
    fn run(&self, first: Queue, forgotten: Option<Wait>) -> Vec<Vec<f32>> {
        self.try_run(&first, forgotten).expect("all calls are right")
    }

    fn try_run(&self, first: &Queue, forgotten: Option<Wait>) -> Result<Vec<Vec<f32>>> {
        let tensor = |index| first.upload(&[index as f32 + 1.0, 0.5], 2, TEST);
        let tensors = (0..TENSORS).map(tensor).collect::<Result<Vec<_>>>()?;
        let streams = (0..STREAMS).map(|_| first.fork()).collect::<Result<Vec<_>>>()?;
        streams.iter().try_for_each(|stream| after(first, stream))?;
        let mut events = Vec::new();
        for (later, step) in self.steps.iter().enumerate() {
            let stream = &streams[step.stream];
            for &earlier in &step.after {
                if Some(Wait { earlier, later }) != forgotten {
                    stream.wait(&events[earlier])?;
                }
            }
            let [a, b] = step.reads.map(|index| &tensors[index]);
            add(stream, a, b, &tensors[step.writes])?;
            events.push(stream.record()?);
        }
        streams.iter().try_for_each(|stream| after(stream, first))?;
        tensors.iter().map(|tensor| first.download(tensor)).collect()
    }
}

impl Step {
    fn conflicts(&self, before: &Step) -> bool {
        self.stream != before.stream
            && (self.writes == before.writes
                || self.reads.contains(&before.writes)
                || before.reads.contains(&self.writes))
    }
}

const TENSORS: usize = 5;
const STREAMS: usize = 3;
