//! AdamW with states each in its own format (FP8-LM, section 2.2).
//!
//! The scale of a state follows from its new values, which follow from its old ones. So that no
//! tensor is ever held in f32, a step runs twice: once for the largest magnitudes, once to store.

use std::ops::Range;

use fp8lm_device::Result;

use self::state::{Part, State};
use super::Twin;
use crate::{
    args::Args,
    scale::amax,
    states::{BLOCK, GRAIN, States, blocks},
    workers::{PerGrain, Workers},
};

mod state;

pub(super) const TWINS: &[(&str, Twin)] = &[("adamw_advance", adamw_advance), ("adamw", adamw)];

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
    let n = args.elements(5);
    let skip = args.read::<u32>(4, 1)?;
    let mut states =
        [State::take(args, 5, 11, n)?, State::take(args, 7, 12, n)?, State::take(args, 9, 13, n)?];
    let step = Step::new(args, n, states.each_ref().map(State::inverse))?;
    if skip[0] != 0 {
        return Ok(());
    }
    let amaxes = if states.iter().any(State::needs_amax) {
        amaxes(&step, workers, n, &states)
    } else {
        [0.0; 3]
    };
    states.iter_mut().zip(amaxes).for_each(|(state, amax)| state.rescale(amax));
    store(&step, workers, n, states);
    Ok(())
}

/// The largest magnitudes of the new states.
fn amaxes(step: &Step<'_>, workers: &Workers, n: usize, states: &[State<'_>; 3]) -> [f32; 3] {
    let states = states.each_ref().map(|state| &state.part);
    let mut grains = vec![[0.0; 3]; n.div_ceil(GRAIN)];
    workers.rows(
        n,
        GRAIN,
        PerGrain { values: grains.as_mut_slice(), grain: GRAIN },
        #[inline(always)]
        |range, grain| {
            let mut buffers = Buffers::default();
            for block in blocks(range) {
                step.run(block.clone(), states, block.start, &mut buffers);
                for (largest, values) in grain.values[0].iter_mut().zip(&buffers.states) {
                    *largest = amax(*largest, &values[..block.len()]);
                }
            }
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
            let mut buffers = Buffers::default();
            for block in blocks(range.clone()) {
                let (first, len) = (block.start - range.start, block.len());
                step.run(block, [&p, &m, &v], first, &mut buffers);
                p.store(first, &mut buffers.states[0][..len]);
                m.store(first, &mut buffers.states[1][..len]);
                v.store(first, &mut buffers.states[2][..len]);
            }
        },
    );
}

/// The scalars of a step. A factor of 1 changes no bit, so one form serves every recipe.
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

    /// Leaves in `buffers` the new values of elements `block`, whose old ones lie from `first` on
    /// in `states`.
    #[inline(always)]
    fn run(
        &self,
        block: Range<usize>,
        states: [&Part<'_>; 3],
        first: usize,
        buffers: &mut Buffers,
    ) {
        let [p, m, v] = &mut buffers.states;
        let (g, p) = (&mut buffers.grad[..block.len()], &mut p[..block.len()]);
        let (m, v) = (&mut m[..block.len()], &mut v[..block.len()]);
        self.grad.load(block.start, g);
        states[0].load(first, p);
        states[1].load(first, m);
        states[2].load(first, v);
        let [from_p, from_m, from_v] = self.inverses;
        let (rest1, rest2) = (1.0 - self.beta1, 1.0 - self.beta2);
        for (((g, p), m), v) in g.iter().zip(p).zip(m).zip(v) {
            let g = *g * self.grad_scale_inv * self.clip;
            *m = self.beta1 * *m * from_m + rest1 * g;
            *v = self.beta2 * *v * from_v + rest2 * (g * g);
            let direction = *m / (v.sqrt() / self.root + self.eps);
            *p = *p * from_p * self.decay - self.step * direction;
        }
    }
}

/// One block in f32.
struct Buffers {
    grad: [f32; BLOCK],
    /// Master weights and moments.
    states: [[f32; BLOCK]; 3],
}

impl Default for Buffers {
    #[inline(always)]
    fn default() -> Self {
        Self { grad: [0.0; BLOCK], states: [[0.0; BLOCK]; 3] }
    }
}
