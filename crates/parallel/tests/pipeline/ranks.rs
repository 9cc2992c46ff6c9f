//! Ranks that run a program at toy stages.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use fp8lm_collectives::{Algorithm, Composed, Traffic};
use fp8lm_device::{DType, Queue, Result};
use fp8lm_parallel::{PIPELINE, Pipeline, Place, Program, SCALARS, Stage};
use fp8lm_scaling::WireFormat;
use fp8lm_sim::{Emulator, Isa, Options, Rank, Sent, Streams, World, WorldOptions};

use crate::toy::{End, Form, SHAPE, Toy};

pub(crate) fn emulator() -> Emulator {
    Emulator::new(Options { threads: 1, isa: Isa::best(), memory_bytes: 1 << 30 })
}

pub(crate) fn world(ranks: usize, streams: Streams) -> World {
    let options = WorldOptions { ranks, streams, checksums: true, ..WorldOptions::default() };
    World::new(&emulator(), options)
}

/// How a pipeline sends what it sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) dtype: DType,
    pub(crate) wire: WireFormat,
    pub(crate) streams: Streams,
}

/// What came of a rank.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) ends: BTreeMap<Place, End>,
    /// The most micro-batches that its stages held at once.
    pub(crate) peak: usize,
    pub(crate) traffic: Traffic,
}

/// Runs `program`, and holds the bytes that were sent against its messages.
pub(crate) fn run(program: &Program, way: Way) -> Vec<Done> {
    let world = world(program.ranks(), way.streams);
    let done = world.run(|rank| act(rank, program, way));
    let done = done.unwrap_or_else(|error| panic!("{error}: {way:?}, {program:?}"));
    expect_traffic(&world, program, way, &done);
    done
}

fn act(Rank { device, link }: Rank, program: &Program, way: Way) -> Result<Done> {
    let (rank, queue) = (link.rank(), Queue::new(device)?);
    let group = Composed::new(link, &queue, Algorithm::default())?;
    let members: Vec<_> = (0..program.ranks()).collect();
    let channel = group.channel(&members, PIPELINE)?;
    let pipeline = Pipeline::new(&queue, Some(&channel), SHAPE, way.dtype, way.wire)?;
    let held = Rc::<Cell<_>>::default();
    let mut toys = toys(&queue, program, rank, (way.dtype, &held))?;
    pipeline.run(&queue, program, &mut stages(&mut toys))?;
    let ends =
        toys.iter().enumerate().map(|(chunk, toy)| Ok((Place { rank, chunk }, toy.end(&queue)?)));
    let (ends, peak) = (ends.collect::<Result<_>>()?, held.get().1);
    Ok(Done { ends, peak, traffic: group.traffic() })
}

/// Those of a rank.
pub(crate) fn toys(
    queue: &Queue,
    program: &Program,
    rank: usize,
    (dtype, held): (DType, &Rc<Cell<(usize, usize)>>),
) -> Result<Vec<Toy>> {
    let form = Form { stages: program.stages(), dtype };
    let toy = |chunk| Toy::new(queue, program.stage(rank, chunk), form, held);
    (0..program.chunks(rank)).map(toy).collect()
}

pub(crate) fn stages(toys: &mut [Toy]) -> Vec<&mut dyn Stage> {
    toys.iter_mut().map(|toy| toy as &mut dyn Stage).collect()
}

fn expect_traffic(world: &World, program: &Program, way: Way, done: &[Done]) {
    let elements = SHAPE[0] * SHAPE[1];
    let parts = match way.wire {
        WireFormat::Activations => vec![elements * way.dtype.bytes()],
        WireFormat::E4m3 => vec![elements, 4 * SHAPE[0] * SHAPE[1].div_ceil(128)],
    };
    for (from, done) in done.iter().enumerate() {
        let targets = program.tasks(from).filter_map(|task| program.target(from, task));
        let mut counts = vec![0; program.ranks()];
        targets.filter(|to| to.rank != from).for_each(|to| counts[to.rank] += 1);
        for (to, &count) in counts.iter().enumerate() {
            let bytes = count * parts.iter().sum::<usize>() as u64;
            let sent = Sent { messages: count * parts.len() as u64, bytes };
            assert_eq!(world.sent(from, to), sent, "{from} to {to}, {way:?}, {program:?}");
        }
        let count: u64 = counts.iter().sum();
        for (label, bytes) in [PIPELINE, SCALARS].into_iter().zip(&parts) {
            let booked = done.traffic.get(&(label, "send")).copied().unwrap_or(0);
            assert_eq!(booked, count * *bytes as u64, "{label} of {from}, {way:?}, {program:?}");
        }
    }
}
