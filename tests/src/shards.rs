//! A step of the optimizer where ranks have parts of a model, against one rank that has it whole.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{
    Alone, Collectives,
    DType::{BF16, E4M3, E5M2, F16, F32},
    Label, Queue, Result,
};
use fp8lm_ops::ScaleRule::Exact;
use fp8lm_optim::{AdamW, Options, Slot};
use fp8lm_scaling::{
    Format, LINEAR, NAMES, Noise, Parameter, ParameterSpec, Precision, Rounded, Shard, Stored,
    recipe,
};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

/// The sums of squares of [`EXACT`] gradients have no roundings, so the norm and what it clips are those of the whole.
#[test]
fn shards_are_stepped_as_the_whole_is() {
    for (name, precision) in precisions() {
        for (outer, dim) in [(1, 0), (3, 0), (SHAPE[0], 1)] {
            for members in [2, 4] {
                let cut = Cut { outer, dim, members };
                compare(&name, &precision, cut);
            }
        }
    }
}

/// Cut in rows, shards are rounded by the whole's own words.
#[test]
fn shards_in_rows_are_rounded_at_random_as_the_whole_is() {
    let mut precision = without_fp8_gradient("fp8lm-2");
    precision.stochastic = vec![Rounded::Master, Rounded::FirstMoment, Rounded::SecondMoment];
    for members in [2, 4] {
        compare("at random", &precision, Cut { outer: 1, dim: 0, members });
    }
}

/// The bound, in units of u = 2^-24 of the norm. One rank adds the 480 squares of a tensor in 128 lanes, 3
/// additions that round, and folds those in 7 levels: off by 10. A shard of 240 or 120 takes 1 and 7, and the sum
/// of up to 4 rounds 3 times more: off by 11. The second tensor's sum is the same, and the sum of the two rounds
/// once on each side: 23 in all, of which the root leaves half, and it rounds once on each side. With the terms
/// of second order below 14.
#[test]
fn the_norm_of_shards_is_that_of_the_whole_within_its_roundings() {
    let precision = recipe("bf16").unwrap().linears;
    let whole = run_whole(&precision, ragged).norms;
    for members in [2, 4] {
        let cut = Cut { outer: 1, dim: 0, members };
        let ends = run_shards(&precision, cut, ragged);
        for (rank, end) in ends.iter().enumerate() {
            assert_eq!(bits(&end.norms), bits(&ends[0].norms), "rank {rank} of {members}");
            for (got, want) in end.norms.iter().zip(&whole) {
                let off = f64::from(got - want).abs() / f64::from(*want);
                assert!(off <= 14.0 / 16_777_216.0, "{members} members: {got} and {want}");
            }
        }
    }
}

/// As stages of a pipeline have them: every sum is one rank's, so nothing rounds otherwise.
#[test]
fn ranks_with_parameters_of_their_own_clip_by_the_norm_of_all() {
    let precision = without_fp8_gradient("fp8lm-2");
    let whole = run_whole(&precision, ragged);
    let ends = on_ranks(2, |queue, group| {
        let slot = Slot { index: group.rank(), counts: true };
        let parameter = [gain, table][1 - group.rank()](queue, &precision, None)?;
        run(queue, vec![parameter], Some((group, vec![slot])), |_, tensor, step| {
            ragged(tensor + slot.index, step)
        })
    });
    for (rank, end) in ends.into_iter().enumerate() {
        assert_eq!(bits(&end.norms), bits(&whole.norms), "rank {rank}");
        assert!(end.states[0] == whole.states[rank], "the states of rank {rank}");
    }
}

#[test]
fn all_skip_where_one_shard_is_not_finite() {
    let precision = without_fp8_gradient("fp8lm-2");
    let cut = Cut { outer: 1, dim: 0, members: 4 };
    let bad = |tensor, step| {
        let mut gradient = exact(tensor, step);
        if (tensor, step) == (0, 1) {
            gradient[SHAPE[0] * SHAPE[1] - 1] = f32::NAN;
        }
        gradient
    };
    let whole = run_whole(&precision, bad);
    assert_eq!(whole.skipped, [false, true, false]);
    for (rank, end) in run_shards(&precision, cut, bad).into_iter().enumerate() {
        assert_eq!(end.skipped, whole.skipped, "rank {rank}");
        for (part, whole) in end.states[0].iter().zip(&whole.states[0]) {
            assert!(*part == cut.of(rank, whole), "rank {rank}");
        }
    }
}

/// The formats of every recipe, and others that states may have. Gradients are in f32, so that all steps have the same.
fn precisions() -> Vec<(String, Precision)> {
    let mut all: Vec<_> =
        NAMES.iter().map(|name| ((*name).to_owned(), without_fp8_gradient(name))).collect();
    let exact = |dtype| Format { dtype, rule: Exact };
    for [master, first, second] in [
        [Format::plain(BF16), Format::plain(F16), Format::plain(F32)],
        [exact(F16), exact(E4M3), exact(F16)],
        [Format::pow2(E4M3), Format::pow2(E5M2), Format::pow2(E5M2)],
        [Format::plain(F32), Format::pow2(E4M3), Format::plain(F32)],
    ] {
        let states = (format!("{master} {first} {second}"), recipe("bf16").unwrap().linears);
        let (name, linears) = states;
        let precision = Precision {
            master,
            first_moment: first,
            second_moment: second,
            working: None,
            ..linears
        };
        all.push((name, precision));
    }
    all
}

fn without_fp8_gradient(name: &str) -> Precision {
    let gradient = recipe("fp32").unwrap().linears.gradient;
    Precision { gradient, ..recipe(name).unwrap().linears }
}

fn compare(about: &str, precision: &Precision, cut: Cut) {
    let whole = run_whole(precision, exact);
    for (rank, end) in run_shards(precision, cut, exact).into_iter().enumerate() {
        assert_eq!(bits(&end.norms), bits(&whole.norms), "{about}, {cut:?}: norms of rank {rank}");
        for (index, (part, whole)) in end.states[0].iter().zip(&whole.states[0]).enumerate() {
            let expected = cut.of(rank, whole);
            assert!(*part == expected, "{about}, {cut:?}: tensor {index} of rank {rank}");
        }
        assert!(end.states[1] == whole.states[1], "{about}, {cut:?}: the whole ones of {rank}");
    }
}

/// How a table is cut.
#[derive(Clone, Copy, Debug)]
struct Cut {
    outer: usize,
    dim: usize,
    members: usize,
}

impl Cut {
    fn shard(self, place: usize) -> Shard {
        Shard { outer: self.outer, place, members: self.members }
    }

    /// A rank's part of the bytes of a tensor; all of a scale's.
    fn of(self, rank: usize, whole: &[u8]) -> Vec<u8> {
        if whole.len() == 4 { whole.to_vec() } else { self.shard(rank).slice(whole) }
    }
}

/// What steps left behind: of every parameter the bytes of its states and of their scales.
struct End {
    norms: Vec<f32>,
    skipped: Vec<bool>,
    states: Vec<Vec<Vec<u8>>>,
}

/// The gradient of a tensor, 0 or 1, in a step.
type Gradients = fn(usize, u64) -> Vec<f32>;

fn run_whole(precision: &Precision, gradients: Gradients) -> End {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let parameters =
        [table, gain].map(|parameter| parameter(&queue, precision, None).unwrap()).into();
    run(&queue, parameters, None, |_, tensor, step| gradients(tensor, step)).unwrap()
}

fn run_shards(precision: &Precision, cut: Cut, gradients: Gradients) -> Vec<End> {
    on_ranks(cut.members, |queue, group| {
        let rank = group.rank();
        let parameters =
            vec![table(queue, precision, Some((&group, cut)))?, gain(queue, precision, None)?];
        let slot = |index, counts| Slot { index, counts };
        let slots = vec![slot(0, true), slot(1, rank == 1)];
        run(queue, parameters, Some((group, slots)), |shard, tensor, step| {
            shard.slice(&gradients(tensor, step))
        })
    })
}

/// Some steps with the gradients that a shard of each tensor has.
fn run(
    queue: &Queue,
    mut parameters: Vec<Parameter>,
    over: Option<(Arc<dyn Collectives>, Vec<Slot>)>,
    gradients: impl Fn(Shard, usize, u64) -> Vec<f32>,
) -> Result<End> {
    let mut adamw = AdamW::new(queue, Options::default(), &parameters.iter().collect::<Vec<_>>())?;
    if let Some((group, slots)) = over {
        adamw = adamw.over(queue, group, &slots, 2)?;
    }
    let mut readings = Vec::new();
    for step in 0..STEPS {
        for (tensor, parameter) in parameters.iter_mut().enumerate() {
            let (shard, shape) = (parameter.spec().shard, parameter.spec().shape);
            let gradient = queue.upload(&gradients(shard, tensor, step), shape, TEST)?;
            parameter.begin_step(queue, step)?;
            parameter.gradient_mut().add(queue, gradient)?;
        }
        let mut all: Vec<_> = parameters.iter_mut().collect();
        readings.push(adamw.step(queue, &mut all, 1e-2)?.read(queue)?);
    }
    let states = parameters.iter().zip(adamw.moments()).map(|(parameter, moments)| {
        let moments = moments.as_ref().unwrap();
        states(queue, [parameter.master(), &moments.first, &moments.second])
    });
    Ok(End {
        norms: readings.iter().map(|reading| reading.norm).collect(),
        skipped: readings.iter().map(|reading| reading.skipped).collect(),
        states: states.collect::<Result<_>>()?,
    })
}

fn states(queue: &Queue, states: [&Stored; 3]) -> Result<Vec<Vec<u8>>> {
    let tensors = states.into_iter().flat_map(|state| [&state.values, &state.scale]);
    tensors.map(|tensor| queue.download_bytes(tensor)).collect()
}

/// A matrix, or a shard of it.
fn table(
    queue: &Queue,
    precision: &Precision,
    part: Option<(&Arc<dyn Collectives>, Cut)>,
) -> Result<Parameter> {
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    let values: Vec<f32> = (0..SHAPE[0] * SHAPE[1]).map(|i| number(7, i)).collect();
    let (group, shard, shape) = match part {
        Some((group, cut)) => {
            let shard = cut.shard(group.rank());
            (group, shard, shard.local_shape(SHAPE.into(), cut.dim))
        }
        None => (&alone, Shard::WHOLE, SHAPE.into()),
    };
    let spec = ParameterSpec { shape, shard, ..spec("table", precision) };
    Parameter::new(queue, spec, group, &shard.slice(&values))
}

/// A vector that is whole on all ranks.
fn gain(
    queue: &Queue,
    precision: &Precision,
    _: Option<(&Arc<dyn Collectives>, Cut)>,
) -> Result<Parameter> {
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    Parameter::new(queue, spec("gain", precision), &alone, &[0.75; GAIN])
}

fn spec(name: &str, precision: &Precision) -> ParameterSpec {
    ParameterSpec {
        name: name.into(),
        shape: [1, GAIN].into(),
        shard: Shard::WHOLE,
        precision: precision.clone(),
        labels: &LINEAR,
        decays: true,
        noise: Noise { seed: 7, tensor: 3, step: 0 },
    }
}

/// Eighths of up to 1, the largest at the end: all sums of their squares are below 2^9, in 64ths.
fn exact(tensor: usize, step: u64) -> Vec<f32> {
    let n = [SHAPE[0] * SHAPE[1], GAIN][tensor];
    let eighths = |i| (number(step as usize, i + 1000 * tensor) * 8.0).trunc() / 8.0;
    (0..n).map(|i| if i + 1 == n { 1.0 } else { eighths(i) }).collect()
}

fn ragged(tensor: usize, step: u64) -> Vec<f32> {
    let n = [SHAPE[0] * SHAPE[1], GAIN][tensor];
    (0..n).map(|i| number(100 + step as usize, i + 1000 * tensor)).collect()
}

/// Between -1 and 1.
fn number(seed: usize, index: usize) -> f32 {
    ((index * 37 + seed * 101) as f32 * 0.7).sin()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn on_ranks<T: Send>(
    ranks: usize,
    run: impl Fn(&Queue, Arc<dyn Collectives>) -> Result<T> + Sync,
) -> Vec<T> {
    let world = World::new(&Emulator::default(), WorldOptions { ranks, ..Default::default() });
    let run = |Rank { device, link }: Rank| {
        let queue = Queue::new(device)?;
        let group = Composed::new(link, &queue, Algorithm::RoundOnce)?;
        run(&queue, Arc::new(group))
    };
    world.run(run).unwrap()
}

const SHAPE: [usize; 2] = [24, 20];
const GAIN: usize = 33;
const STEPS: u64 = 3;
const TEST: Label = Label("test");
