//! A step of the optimizer on many ranks: all of them take it, or none does.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{Alone, Collectives, Label, Link, Queue, Result};
use fp8lm_optim::{AdamW, Options, Slot};
use fp8lm_parallel::{DataGroups, DataOptions, DataParallel, Zero};
use fp8lm_scaling::{LINEAR, Noise, Parameter, ParameterSpec, REST, Shard, recipe};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

/// Elements of a parameter in FP8 and of one in f32.
const SIZES: [usize; 2] = [700, 33];

/// Whether a rank skipped the step, the bits of its norm, and whether its weights and mu are as before.
type End = (bool, u32, bool);

#[test]
fn a_step_that_one_rank_cannot_take_is_skipped_by_all() {
    for zero in [Zero::Off, Zero::States, Zero::Gradients] {
        for (bad, value) in
            [(0, f32::NAN), (1, f32::INFINITY), (0, f32::NEG_INFINITY), (1, f32::NAN)]
        {
            let ends = run(zero, Some((bad, value)));
            let skipped = ends.iter().all(|(skipped, _, unchanged)| *skipped && *unchanged);
            assert!(skipped, "{zero:?}, {value} in tensor {bad} of rank 1: {ends:?}");
        }
    }
}

#[test]
fn all_ranks_clip_by_one_norm() {
    let reference = run(Zero::Off, None);
    for zero in [Zero::Off, Zero::States, Zero::Gradients] {
        for (skipped, norm, unchanged) in run(zero, None) {
            assert!(!skipped && !unchanged, "{zero:?}: the step is taken");
            assert_eq!(norm, reference[0].1, "{zero:?}: the bits of the norm");
        }
    }
}

/// One step of three ranks; `bad` is a value that rank 1 adds to one of the tensors.
fn run(zero: Zero, bad: Option<(usize, f32)>) -> Vec<End> {
    let world = World::new(&Emulator::default(), WorldOptions { ranks: 3, ..Default::default() });
    world.run(|Rank { device, link }| step(&Queue::new(device)?, link, zero, bad)).unwrap()
}

fn step(queue: &Queue, link: Arc<dyn Link>, zero: Zero, bad: Option<(usize, f32)>) -> Result<End> {
    let rank = link.rank();
    let group: Arc<dyn Collectives> = Arc::new(Composed::new(link, queue, Algorithm::RoundOnce)?);
    let mut parameters = [parameter(queue, 0)?, parameter(queue, 1)?];
    let mut parameters: Vec<_> = parameters.iter_mut().collect();
    let (algorithm, deterministic) = (Algorithm::RoundOnce, false);
    let options = DataOptions { zero, algorithm, bucket_bytes: 1, deterministic };
    let mut data =
        DataParallel::new(queue, DataGroups::whole(&group), options, &mut parameters, &[2, 0])?;
    let owned: Vec<_> = parameters.iter().map(|parameter| &**parameter).collect();
    let slot = |(index, parameter): (usize, &&Parameter)| {
        let speaks = if zero == Zero::Off { rank == 0 } else { parameter.is_owned() };
        Slot { index, counts: speaks }
    };
    let slots: Vec<_> = owned.iter().enumerate().map(slot).collect();
    let adamw = AdamW::new(queue, Options::default(), &owned)?;
    let mut adamw = adamw.over(queue, group, &slots, slots.len())?;
    let before = weights(queue, &parameters)?;
    for (index, parameter) in parameters.iter_mut().enumerate() {
        parameter.begin_step(queue, 0)?;
        let mut values: Vec<f32> = (0..SIZES[index]).map(|i| (i + rank) as f32 * 1e-4).collect();
        if let Some((_, value)) = bad.filter(|(tensor, _)| *tensor == index && rank == 1) {
            values[7] = value;
        }
        let values = queue.upload(&values, SIZES[index], Label("dw"))?;
        parameter.gradient_mut().add(queue, values)?;
        data.add(queue, parameter)?;
    }
    data.finish(queue, &parameters)?;
    let outcome = adamw.step(queue, &mut parameters, 1e-2)?;
    data.gather(queue, &parameters)?;
    let reading = outcome.read(queue)?;
    let unchanged = weights(queue, &parameters)? == before;
    Ok((reading.skipped, reading.norm.to_bits(), unchanged))
}

fn parameter(queue: &Queue, index: usize) -> Result<Parameter> {
    let recipe = recipe("fp8lm-3").unwrap();
    let (precision, labels) = [(recipe.linears, &LINEAR), (recipe.rest, &REST)][index].clone();
    let (name, shape) = (index.to_string(), SIZES[index].into());
    let (shard, noise) = (Shard::WHOLE, Noise::default());
    let spec = ParameterSpec { name, shape, shard, precision, labels, decays: true, noise };
    let values: Vec<f32> = (0..SIZES[index]).map(|i| (i as f32).sin()).collect();
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    Parameter::new(queue, spec, &alone, &values)
}

/// What is read of the parameters, and their mu.
fn weights(queue: &Queue, parameters: &[&mut Parameter]) -> Result<Vec<Vec<u8>>> {
    let read = parameters.iter().flat_map(|parameter| parameter.replica());
    let mus = parameters.iter().map(|parameter| parameter.gradient().mu());
    read.chain(mus).map(|tensor| queue.download_bytes(tensor)).collect()
}
