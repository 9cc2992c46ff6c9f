//! AdamW with states each in its own format (FP8-LM, section 2.2).
//!
//! The scale of a state follows from its new values, which follow from its old ones. So that no
//! tensor is ever held in f32, a step runs twice: once for the largest magnitudes, once to store.

use std::ops::Range;

use fp8lm_device::Result;
use fp8lm_formats::philox::{StochasticStream, Use};

use self::state::{Part, State};
use super::Twin;
#[cfg(target_arch = "x86_64")]
use crate::lanes::WIDTH;
use crate::{
    args::Args,
    groups::GROUP,
    scale::Amax,
    states::{Aligned, GRAIN, States},
    workers::{PerGrain, Workers},
};

#[cfg(target_arch = "x86_64")]
mod avx512;
mod state;

#[cfg(target_arch = "x86_64")]
use avx512::Floors;
/// What AVX-512 alone makes use of.
#[cfg(not(target_arch = "x86_64"))]
type Floors = ();

pub(super) const TWINS: &[(&str, Twin)] =
    &[("adamw_advance", adamw_advance), ("adamw", adamw), ("adamw_stochastic", adamw_stochastic)];

fn adamw_advance(args: &mut Args<'_>, _workers: &Workers) -> Result<()> {
    let (skip, betas) = (args.read::<u32>(0, 1)?, [args.f32(3), args.f32(4)]);
    let (powers, corrections) = (args.write::<f64>(1, 2)?, args.write::<f32>(2, 2)?);
    for ((power, beta), correction) in powers.iter_mut().zip(betas).zip(corrections) {
        if skip[0] == 0 {
            *power *= f64::from(beta);
        }
        *correction = (1.0 - *power) as f32;
    }
    Ok(())
}

fn adamw(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    step(args, workers, [None; 3])
}

fn adamw_stochastic(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (chosen, seed, tensor) = (args.extent(21), args.u64(22), args.extent(23) as u32);
    let step_number = args.extent(24) as u64;
    let first = args.u64(25);
    let noise = |bit: usize, purpose| {
        let draw = StochasticStream::draw(step_number, purpose);
        (chosen >> bit & 1 == 1).then_some((StochasticStream { seed, tensor, draw }, first))
    };
    let purposes = [noise(0, Use::Master), noise(1, Use::FirstMoment), noise(2, Use::SecondMoment)];
    step(args, workers, purposes)
}

/// A step whose states are rounded by the random words given for them.
fn step(
    args: &mut Args<'_>,
    workers: &Workers,
    noise: [Option<(StochasticStream, u64)>; 3],
) -> Result<()> {
    let n = args.elements(5);
    let skip = args.read::<u32>(4, 1)?;
    let mut states =
        [State::take(args, 5, 11, n)?, State::take(args, 7, 12, n)?, State::take(args, 9, 13, n)?];
    for (state, noise) in states.iter_mut().zip(noise) {
        noise.into_iter().for_each(|(noise, first)| state.set_noise(noise, first));
    }
    let step = Step::new(args, n, states.each_ref().map(State::inverse))?;
    let (amaxes, phases) = (args.write::<f32>(AMAXES, 3)?, phases(args)?);
    let skips = skip[0] != 0;
    if phases & FIND != 0 && states.iter().any(State::needs_amax) {
        let found = if skips { [0.0; 3] } else { find(&step, workers, n, &states) };
        let all = amaxes.iter_mut().zip(found).zip(&states);
        all.filter(|(_, state)| state.needs_amax()).for_each(|((amax, found), _)| *amax = found);
    }
    if phases & STORE != 0 && !skips {
        states.iter_mut().zip(amaxes).for_each(|(state, amax)| state.rescale(*amax));
        store(&step, workers, n, states);
    }
    Ok(())
}

/// What of the step is made.
fn phases(args: &Args<'_>) -> Result<usize> {
    match args.extent(PHASES) {
        phases @ 1..=3 => Ok(phases),
        other => Err(args.invalid(PHASES, "1, 2 or 3".into(), other.to_string())),
    }
}

/// The largest magnitudes of the new states; of a master whose scale does not need it, 0.
fn find(step: &Step<'_>, workers: &Workers, n: usize, states: &[State<'_>; 3]) -> [f32; 3] {
    let with_master = states[0].needs_amax();
    let [p, m, v] = states.each_ref().map(|state| &state.part);
    let mut grains = vec![[0.0; 3]; n.div_ceil(GRAIN)];
    let floors = Floors::default();
    workers.rows(
        n,
        GRAIN,
        PerGrain { values: grains.as_mut_slice(), grain: GRAIN },
        #[inline(always)]
        |range, grain| {
            let (mut chunk, mut largest) = (Chunk::default(), [Amax::default(); 3]);
            let (done, wide) = wide_amaxes(step, &range, [p, m, v], with_master, &floors);
            chunks(
                range.start + done..range.end,
                #[inline(always)]
                |first, len| {
                    step.moments(first, [m, v], first, chunk.moments(len));
                    largest[1].take(&chunk.m.0[..len]);
                    largest[2].take(&chunk.v.0[..len]);
                    if with_master {
                        step.master(p, first, chunk.weights(len));
                        largest[0].take(&chunk.p.0[..len]);
                    }
                },
            );
            // One grain, or of no elements none.
            grain.values.fill(std::array::from_fn(|i| largest[i].value().max(wide[i])));
        },
    );
    grains
        .iter()
        .fold([0.0; 3], |[p, m, v], grain| [p.max(grain[0]), m.max(grain[1]), v.max(grain[2])])
}

/// Computes the new states again and stores them under their new scales.
fn store(step: &Step<'_>, workers: &Workers, n: usize, states: [State<'_>; 3]) {
    let [p, m, v] = states.map(|state| state.part);
    workers.rows(
        n,
        GRAIN,
        (p, m, v),
        #[inline(always)]
        |range, (mut p, mut m, mut v)| {
            let mut chunk = Chunk::default();
            let start = range.start;
            let done = store_wide(step, &range, [&mut p, &mut m, &mut v]);
            chunks(
                start + done..range.end,
                #[inline(always)]
                |first, len| {
                    let place = first - start;
                    step.moments(first, [&m, &v], place, chunk.moments(len));
                    step.master(&p, place, chunk.weights(len));
                    p.store(place, &mut chunk.p.0[..len]);
                    m.store(place, &mut chunk.m.0[..len]);
                    v.store(place, &mut chunk.v.0[..len]);
                },
            );
        },
    );
}

/// How many elements at the beginning of `range` the instructions of AVX-512 took, and the largest
/// magnitudes of their new states.
#[inline(always)]
fn wide_amaxes(
    step: &Step<'_>,
    range: &Range<usize>,
    states: [&Part<'_>; 3],
    with_master: bool,
    floors: &Floors,
) -> (usize, [f32; 3]) {
    #[cfg(target_arch = "x86_64")]
    if step.grad.isa.has_avx512() {
        let len = range.len() / WIDTH * WIDTH;
        // SAFETY: the features were found when the instruction set was made.
        let amaxes = unsafe { avx512::amaxes(step, range.start, len, states, with_master, floors) };
        return amaxes.map_or((0, [0.0; 3]), |amaxes| (len, amaxes));
    }
    (0, [0.0; 3])
}

/// Stores the new states of as many elements as the instructions of AVX-512 take.
#[inline(always)]
fn store_wide(step: &Step<'_>, range: &Range<usize>, states: [&mut Part<'_>; 3]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if step.grad.isa.has_avx512() {
        let len = range.len() / WIDTH * WIDTH;
        // SAFETY: the features were found when the instruction set was made.
        return unsafe { avx512::store(step, range.start, len, states) }.map_or(0, |()| len);
    }
    0
}

/// Calls `body` with the first element and the length of chunk after chunk. All but the last have
/// a length that the compiler knows.
#[inline(always)]
fn chunks(range: Range<usize>, mut body: impl FnMut(usize, usize)) {
    let rest = range.end - range.len() % CHUNK;
    for first in (range.start..rest).step_by(CHUNK) {
        body(first, CHUNK);
    }
    if rest < range.end {
        body(rest, range.end - rest);
    }
}

/// The scalars of a step. A factor of 1 changes no bit, so one form serves every recipe.
#[derive(Clone, Copy)]
struct Step<'a> {
    grad: States<'a>,
    grad_scale_inv: f32,
    clip: f32,
    inverses: [f32; 3],
    step: f32,
    root: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    decay: f32,
}

impl<'a> Step<'a> {
    fn new(args: &Args<'a>, n: usize, inverses: [f32; 3]) -> Result<Self> {
        let corrections = args.read::<f32>(3, 2)?;
        Ok(Self {
            grad: args.states(0, n)?,
            grad_scale_inv: args.read(1, 1)?[0],
            clip: args.read(2, 1)?[0],
            inverses,
            step: args.f32(14) / corrections[0],
            root: corrections[1].sqrt(),
            beta1: args.f32(15),
            beta2: args.f32(16),
            eps: args.f32(17),
            decay: args.f32(18),
        })
    }

    /// Whether larger magnitudes of gradient and moments give larger moments: no factor is negative.
    #[cfg(target_arch = "x86_64")]
    fn is_monotonic(&self) -> bool {
        let betas = [self.beta1, self.beta2].iter().all(|beta| (0.0..=1.0).contains(beta));
        let factors = [self.grad_scale_inv, self.clip, self.inverses[1], self.inverses[2]];
        betas && factors.iter().all(|factor| *factor >= 0.0)
    }

    /// Leaves in `m` and `v` the new moments of the elements from `first` on, whose old ones lie
    /// from `place` on in `states`.
    #[inline(always)]
    fn moments(&self, first: usize, states: [&Part<'_>; 2], place: usize, chunk: [&mut [f32]; 3]) {
        let [g, m, v] = chunk;
        self.grad.load(first, g);
        states[0].load(place, m);
        states[1].load(place, v);
        let [_, from_m, from_v] = self.inverses;
        let (rest1, rest2) = (1.0 - self.beta1, 1.0 - self.beta2);
        for ((g, m), v) in g.iter().zip(m).zip(v) {
            let g = *g * self.grad_scale_inv * self.clip;
            *m = self.beta1 * *m * from_m + rest1 * g;
            *v = self.beta2 * *v * from_v + rest2 * (g * g);
        }
    }

    /// Leaves in `p` the new master weights, of which the old ones lie from `place` on in `state`.
    #[inline(always)]
    fn master(&self, state: &Part<'_>, place: usize, chunk: [&mut [f32]; 3]) {
        let [p, m, v] = chunk;
        state.load(place, p);
        for ((p, m), v) in p.iter_mut().zip(m).zip(v) {
            let direction = *m / (v.sqrt() / self.root + self.eps);
            *p = *p * self.inverses[0] * self.decay - self.step * direction;
        }
    }
}

/// Some elements in f32.
#[derive(Default)]
struct Chunk {
    g: Aligned<CHUNK>,
    p: Aligned<CHUNK>,
    m: Aligned<CHUNK>,
    v: Aligned<CHUNK>,
}

impl Chunk {
    #[inline(always)]
    fn moments(&mut self, len: usize) -> [&mut [f32]; 3] {
        [&mut self.g.0[..len], &mut self.m.0[..len], &mut self.v.0[..len]]
    }

    #[inline(always)]
    fn weights(&mut self, len: usize) -> [&mut [f32]; 3] {
        [&mut self.p.0[..len], &mut self.m.0[..len], &mut self.v.0[..len]]
    }
}

const AMAXES: usize = 19;
const PHASES: usize = 20;
const FIND: usize = 1;
const STORE: usize = 2;
/// A group of a state that expands ranges. So few elements that a core works on the conversions
/// of one chunk while it divides and takes roots for the last one.
const CHUNK: usize = GROUP;
