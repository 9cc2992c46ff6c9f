//! Gradients of shards, summed over replicas, against those of whole tensors: to the bit.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{Alone, Collectives, Label, Queue, Result};
use fp8lm_parallel::{DataGroups, DataOptions, DataParallel, Zero};
use fp8lm_scaling::{LINEAR, Noise, Parameter, ParameterSpec, REST, Rounded, Shard, recipe};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

/// Tensors of [24, 20]: whether their gradients are in FP8, and how they are cut, if they are. The last one's is
/// rounded stochastically.
const TENSORS: [(bool, Option<(usize, usize)>); 6] = [
    (true, Some((1, 0))),
    (true, Some((3, 0))),
    (true, Some((24, 1))),
    (false, Some((1, 0))),
    (false, None),
    (true, Some((1, 0))),
];
const SHAPE: [usize; 2] = [24, 20];
const ELEMENTS: usize = SHAPE[0] * SHAPE[1];
const STOCHASTIC: usize = 5;
const MICRO_BATCHES: usize = 2;
/// Of a step that is summed by a tree, on all replicas together: no power of two.
const LEAVES: usize = 12;

/// Of each tensor: its gradient, what multiplies it, mu after the step, and what casts have lost; nothing where the
/// gradient is another rank's.
type End = Vec<Option<Gradient>>;

#[derive(Clone, PartialEq)]
struct Gradient {
    values: Vec<u8>,
    scale_inv: f32,
    mu: f32,
    lost: Option<[u64; 3]>,
}

#[test]
fn shards_of_gradients_are_cut_from_the_whole() {
    for replicas in [1, 2] {
        for zero in [Zero::Off, Zero::States, Zero::Gradients] {
            let whole = run(replicas, 1, (zero, false));
            for members in [2, 4] {
                let about = format!("{replicas} replicas of {members} shards, {zero:?}");
                compare(&about, &whole, &run(replicas, members, (zero, false)), members);
            }
        }
    }
}

/// Nor does it matter how many replicas share the micro-batches, if sums go by the tree.
#[test]
fn replicas_by_the_tree_have_the_gradients_of_one() {
    let one = run(1, 1, (Zero::Off, true)).swap_remove(0);
    for replicas in [1, 2, 4] {
        for zero in [Zero::Off, Zero::States, Zero::Gradients] {
            for members in [1, 2] {
                let about = format!("{replicas} replicas of {members} shards, {zero:?}, tree");
                let parts = run(replicas, members, (zero, true));
                let is_owned = |replica, tensor| zero == Zero::Off || tensor % replicas == replica;
                let whole = |replica| {
                    let gradients = one.iter().enumerate();
                    gradients
                        .map(|(t, g)| g.clone().filter(|_| is_owned(replica, t)))
                        .collect::<End>()
                };
                let whole: Vec<_> = (0..replicas).map(whole).collect();
                compare(&about, &whole, &parts, members);
            }
        }
    }
}

/// The test above compares what saturates, and mu that follows.
#[test]
fn gradients_saturate_under_a_head_room_above_one() {
    let whole = run(2, 1, (Zero::Off, false));
    let gradient = whole[0][0].as_ref().unwrap();
    assert_eq!(gradient.mu, 4.0);
    assert!(gradient.lost.unwrap()[0] > 0);
}

fn compare(about: &str, whole: &[End], parts: &[End], members: usize) {
    for (rank, end) in parts.iter().enumerate() {
        let (replica, place) = (rank / members, rank % members);
        for (tensor, part) in end.iter().enumerate() {
            let about = format!("{about}, rank {rank}, tensor {tensor}");
            let whole = whole[replica][tensor].as_ref();
            assert_eq!(part.is_some(), whole.is_some(), "{about}");
            let (Some(part), Some(whole)) = (part, whole) else { continue };
            let cut = TENSORS[tensor].1;
            let shard = cut.map_or(Shard::WHOLE, |(outer, _)| Shard { outer, place, members });
            assert!(part.values == shard.slice(&whole.values), "{about}: values");
            assert_eq!(part.scale_inv.to_bits(), whole.scale_inv.to_bits(), "{about}");
            assert_eq!((part.mu, part.lost), (whole.mu, whole.lost), "{about}");
        }
    }
}

fn run(replicas: usize, members: usize, (zero, deterministic): (Zero, bool)) -> Vec<End> {
    let options = WorldOptions { ranks: replicas * members, ..Default::default() };
    let world = World::new(&Emulator::default(), options);
    let run = |Rank { device, link }: Rank| {
        let queue = Queue::new(device)?;
        let world: Arc<dyn Collectives> =
            Arc::new(Composed::new(link, &queue, Algorithm::RoundOnce)?);
        let (replica, place) = (world.rank() / members, world.rank() % members);
        let same_shard: Vec<_> = (0..replicas).map(|r| r * members + place).collect();
        let same_replica: Vec<_> = (0..members).map(|m| replica * members + m).collect();
        let groups = [world.split(&same_shard)?, world.clone(), world.split(&same_replica)?];
        let (algorithm, bucket_bytes) = (Algorithm::RoundOnce, 700);
        step(&queue, groups, DataOptions { zero, algorithm, bucket_bytes, deterministic })
    };
    world.run(run).unwrap()
}

/// A step of the rank: of groups that are its replicas, all peers, and those with the other shards.
fn step(
    queue: &Queue,
    [replicas, peers, tensor]: [Arc<dyn Collectives>; 3],
    options: DataOptions,
) -> Result<End> {
    let deterministic = options.deterministic;
    let micro_batches = if deterministic { LEAVES / replicas.size() } else { MICRO_BATCHES };
    // Under a tree a micro-batch is one of all; otherwise it is one of the replica.
    let (replica, first) = match deterministic {
        true => (0, replicas.rank() * micro_batches),
        false => (replicas.rank(), 0),
    };
    let owners: Vec<_> = (0..TENSORS.len()).map(|index| index % replicas.size()).collect();
    let parameters = (0..TENSORS.len()).map(|index| parameter(queue, index, &tensor));
    let mut parameters = parameters.collect::<Result<Vec<_>>>()?;
    let mut parameters: Vec<_> = parameters.iter_mut().collect();
    let groups = DataGroups { replicas: &replicas, peers: &peers };
    let mut data = DataParallel::new(queue, groups, options, &mut parameters, &owners)?;
    for (index, parameter) in parameters.iter_mut().enumerate() {
        queue.write(&[8.0f32], parameter.gradient().mu())?;
        if deterministic {
            parameter.gradient_mut().combine_as_tree(micro_batches);
        }
        parameter.begin_step(queue, 0)?;
        let spec = parameter.spec().clone();
        for micro_batch in 0..micro_batches {
            let part = spec.shard.slice(&gradient(index, replica, first + micro_batch));
            let part = queue.upload(&part, spec.shape, TEST)?;
            parameter.gradient_mut().add(queue, part)?;
            if micro_batch + 1 < micro_batches {
                parameter.gradient_mut().fold(queue)?;
            }
        }
        data.add(queue, parameter)?;
    }
    data.finish(queue, &parameters)?;
    let kept = parameters.into_iter().map(|parameter| end(queue, parameter, options.zero));
    kept.collect()
}

fn end(queue: &Queue, parameter: &mut Parameter, zero: Zero) -> Result<Option<Gradient>> {
    let skip = queue.upload(&[0u32], 1, TEST)?;
    parameter.gradient_mut().adapt(queue, &skip)?;
    let gradient = parameter.gradient();
    if zero != Zero::Off && !parameter.is_owned() {
        return Ok(None);
    }
    let reading = gradient.reading(queue)?;
    Ok(Some(Gradient {
        values: queue.download_bytes(gradient.result())?,
        scale_inv: queue.download::<f32>(gradient.scale_inv())?[0],
        mu: queue.download::<f32>(gradient.mu())?[0],
        lost: reading.map(|r| [r.saturated, r.underflowed, r.elements]),
    }))
}

fn parameter(queue: &Queue, index: usize, tensor: &Arc<dyn Collectives>) -> Result<Parameter> {
    let recipe = recipe("fp8lm-3").unwrap();
    let (scaled, cut) = TENSORS[index];
    let (mut precision, labels) =
        if scaled { (recipe.linears, &LINEAR) } else { (recipe.rest, &REST) };
    if index == STOCHASTIC {
        precision.stochastic = vec![Rounded::Gradient];
    }
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    let group = if cut.is_some() { tensor } else { &alone };
    let (outer, dim) = cut.unwrap_or((1, 0));
    let shard = Shard { outer, place: group.rank(), members: group.size() };
    let shape = shard.local_shape(SHAPE.into(), dim);
    let (name, noise) = (index.to_string(), Noise { seed: 5, tensor: index as u32, step: 0 });
    let spec = ParameterSpec { name, shape, shard, precision, labels, decays: true, noise };
    let values: Vec<f32> = (0..ELEMENTS).map(|i| (i as f32).sin()).collect();
    Parameter::new(queue, spec, group, &shard.slice(&values))
}

/// What a replica adds to a whole tensor in a micro-batch.
fn gradient(index: usize, replica: usize, micro_batch: usize) -> Vec<f32> {
    let place = |i: usize| (7 * i + 31 * replica + 5 * index + 13 * micro_batch) as f32;
    let grows = |i: usize| (1 + replica) as f32 * (1.0 + i as f32 / 64.0) * 1e-3;
    (0..ELEMENTS).map(|i| place(i).sin() * grows(i)).collect()
}

const TEST: Label = Label("test");
