//! Gradients summed and weights handed round by ranks, against the same arithmetic written out.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{Alone, Collectives, Label, Link, Queue, Result};
use fp8lm_formats::E4M3;
use fp8lm_parallel::{DataGroups, DataOptions, DataParallel, Zero};
use fp8lm_scaling::{LINEAR, Noise, Parameter, ParameterSpec, REST, Shard, recipe};
use fp8lm_sim::{Emulator, Rank, Streams, World, WorldOptions};

/// An FP8 and an f32 gradient of odd lengths, and a tensor with fewer elements than ranks.
const SHAPES: [(&str, usize, bool); 3] = [("w", 1037, true), ("g", 301, false), ("s", 2, true)];
const OWNERS: [usize; 3] = [1, 0, 2];

/// The gradients that a rank has at the end, decoded, and the bits of its FP8 weights.
type End = (Vec<Option<Vec<f32>>>, Vec<Vec<u8>>);

#[test]
fn sums_are_rounded_once_and_divided_in_the_scale() {
    for ranks in [3, 4, 7] {
        for zero in [Zero::Off, Zero::States, Zero::Gradients] {
            let ends = run(ranks, zero, 1 << 20);
            for (rank, (gradients, _)) in ends.iter().enumerate() {
                for (index, gradient) in gradients.iter().enumerate() {
                    let keeps = zero == Zero::Off || OWNERS[index] == rank;
                    let about = format!("{zero:?}, rank {rank} of {ranks}, tensor {index}");
                    assert_eq!(gradient.is_some(), keeps || zero == Zero::States, "{about}");
                    if let Some(gradient) = gradient.as_ref().filter(|_| keeps) {
                        assert_bits(&about, gradient, &expected(index, ranks));
                    }
                }
            }
        }
    }
}

#[test]
fn buckets_change_no_bit() {
    let whole = run(3, Zero::States, 1 << 20);
    for bytes in [1, 1100] {
        assert_eq!(run(3, Zero::States, bytes), whole, "buckets of {bytes} bytes");
    }
}

#[test]
fn every_rank_has_the_weights_of_their_owner() {
    for zero in [Zero::States, Zero::Gradients] {
        let ends = run(4, zero, 1 << 20);
        for (_, weights) in &ends {
            assert_eq!(*weights, ends[0].1, "{zero:?}");
        }
    }
}

/// Sums that begin beside the backward pass, with streams that do as little as they are told to.
#[test]
fn late_streams_change_no_bit() {
    for zero in [Zero::Off, Zero::States, Zero::Gradients] {
        let in_order = run(3, zero, 1 << 20);
        for seed in 0..8 {
            let late = run_on(Streams::Adversarial { seed }, 3, zero, 1);
            assert_eq!(late, in_order, "{zero:?}, seed {seed}");
        }
    }
}

fn run(ranks: usize, zero: Zero, bucket_bytes: usize) -> Vec<End> {
    run_on(Streams::InOrder, ranks, zero, bucket_bytes)
}

fn run_on(streams: Streams, ranks: usize, zero: Zero, bucket_bytes: usize) -> Vec<End> {
    let options = WorldOptions { ranks, streams, ..Default::default() };
    let world = World::new(&Emulator::default(), options);
    let options =
        DataOptions { zero, algorithm: Algorithm::RoundOnce, bucket_bytes, deterministic: false };
    world.run(|Rank { device, link }| step(&Queue::new(device)?, link, options)).unwrap()
}

fn step(queue: &Queue, link: Arc<dyn Link>, options: DataOptions) -> Result<End> {
    let composed = Composed::new(link, queue, options.algorithm)?;
    let group: Arc<dyn Collectives> = Arc::new(composed);
    // Weights differ from rank to rank, so that it shows whose they are in the end.
    let offset = group.rank() as f32;
    let mut parameters = SHAPES.map(|shape| parameter(queue, shape, offset).unwrap());
    let mut parameters: Vec<_> = parameters.iter_mut().collect();
    let mut data =
        DataParallel::new(queue, DataGroups::whole(&group), options, &mut parameters, &OWNERS)?;
    for (index, parameter) in parameters.iter_mut().enumerate() {
        parameter.begin_step(queue, 0)?;
        let gradient = gradient(index, group.rank());
        let gradient = queue.upload(&gradient, parameter.spec().shape, Label("dw"))?;
        parameter.gradient_mut().add(queue, gradient)?;
        data.add(queue, parameter)?;
    }
    data.finish(queue, &parameters)?;
    data.gather(queue, &parameters)?;
    let gradients = parameters.iter().map(|parameter| decoded(queue, parameter));
    let gradients = gradients.collect::<Result<_>>()?;
    let weights = parameters.iter().flat_map(|parameter| parameter.replica());
    Ok((gradients, weights.map(|tensor| queue.download_bytes(tensor)).collect::<Result<_>>()?))
}

fn parameter(
    queue: &Queue,
    (name, elements, scaled): (&str, usize, bool),
    offset: f32,
) -> Result<Parameter> {
    let recipe = recipe("fp8lm-3").unwrap();
    let (precision, labels) = if scaled { (recipe.linears, &LINEAR) } else { (recipe.rest, &REST) };
    let noise = Noise::default();
    let shape = elements.into();
    let (name, shard) = (name.into(), Shard::WHOLE);
    let spec = ParameterSpec { name, shape, shard, precision, labels, decays: true, noise };
    let values: Vec<f32> = (0..elements).map(|i| (i as f32).sin() + offset).collect();
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    Parameter::new(queue, spec, &alone, &values)
}

/// What a rank adds to a tensor.
fn gradient(index: usize, rank: usize) -> Vec<f32> {
    let place = |i: usize| (7 * i + 31 * rank + 5 * index) as f32;
    (0..SHAPES[index].1).map(|i| place(i).sin() * (1.0 + rank as f32) * 1e-3).collect()
}

fn decoded(queue: &Queue, parameter: &Parameter) -> Result<Option<Vec<f32>>> {
    let gradient = parameter.gradient();
    let Some(values) = gradient.kept() else { return Ok(None) };
    let factor = queue.download::<f32>(gradient.scale_inv())?[0];
    let values = match gradient.is_scaled() {
        true => queue.download::<E4M3>(values)?.into_iter().map(E4M3::to_f32).collect(),
        false => queue.download::<f32>(values)?,
    };
    Ok(Some(values.into_iter().map(|value| value * factor).collect()))
}

/// The mean over ranks, every rounding written out.
fn expected(index: usize, ranks: usize) -> Vec<f32> {
    let gradients: Vec<_> = (0..ranks).map(|rank| gradient(index, rank)).collect();
    let sum = |terms: &dyn Fn(usize) -> f32| (0..ranks).fold(0.0, |sum, rank| sum + terms(rank));
    let elements = 0..SHAPES[index].1;
    if !SHAPES[index].2 {
        let share = 1.0 / ranks as f32;
        return elements.map(|i| sum(&|rank| gradients[rank][i]) * share).collect();
    }
    let scale = pow2(448.0 / amax(gradients.iter().flatten()));
    let code = |x: f32| E4M3::from_f32_saturating(x).to_f32();
    let sums: Vec<f32> = elements.map(|i| sum(&|rank| code(gradients[rank][i] * scale))).collect();
    let rescale = pow2(448.0 / amax(&sums));
    let scale_inv = 1.0 / (ranks as f32 * (scale * rescale));
    sums.into_iter().map(|sum| code(sum * rescale) * scale_inv).collect()
}

fn amax<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |amax, value| amax.max(value.abs()))
}

/// The largest power of two that is not above x.
fn pow2(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0x7F80_0000)
}

fn assert_bits(about: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{about}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let (bits, wanted) = (got.to_bits(), expected.to_bits());
        assert_eq!(
            bits, wanted,
            "{about}, element {i}: {got} ({bits:#x}) instead of {expected} ({wanted:#x})"
        );
    }
}
