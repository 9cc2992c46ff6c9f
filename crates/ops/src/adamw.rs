//! AdamW with states each in its own format (FP8-LM, section 2.2).

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::{Noise, ScaleRule, expect};

/// A tensor that an optimizer keeps from step to step, under a scale of its own.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The values times the scale, in F32, BF16, F16, E4M3 or E5M2.
    pub values: &'a Tensor,
    /// The scale, F32 of [`ScaleRule::scale_shape`].
    pub scale: &'a Tensor,
    /// How each step chooses the scale anew. [`ScaleRule::None`] keeps it at 1; F32 and BF16 take
    /// no other rule, and FP8 alone takes [`ScaleRule::Expand`].
    pub rule: ScaleRule,
}

/// The arguments of [`adamw`].
#[derive(Clone, Copy, Debug)]
pub struct AdamW<'a> {
    /// The gradient, in any format of a state.
    pub grad: &'a Tensor,
    /// What its elements are multiplied by, F32 `[1]`.
    pub grad_scale_inv: &'a Tensor,
    /// What they are then multiplied by to clip the global norm, F32 `[1]`.
    pub clip: &'a Tensor,
    /// The corrections of bias by [`adamw_advance`], F32 `[2]`.
    pub corrections: &'a Tensor,
    /// Whether to leave everything as it is, U32 `[1]`.
    pub skip: &'a Tensor,
    /// The master weights.
    pub master: State<'a>,
    /// The first moment.
    pub m: State<'a>,
    /// The second moment.
    pub v: State<'a>,
    /// The learning rate.
    pub lr: f32,
    /// The decay of the first moment.
    pub beta1: f32,
    /// The decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// What weights are multiplied by before the update: 1 - lr * weight decay.
    pub decay: f32,
    /// The largest magnitudes of the new master, m and v, F32 `[3]`, of those whose scale follows from it.
    pub amaxes: &'a Tensor,
    /// What of the step is made.
    pub phases: Phases,
}

/// What a launch makes of a step. A tensor that a group has in shards takes two, and the largest `amaxes` of the group
/// between them, so that all shards have the scales of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phases {
    /// Finds `amaxes`, and changes nothing else; they are 0 where the step is skipped.
    Find = 1,
    /// Stores the new states under the scales that follow from `amaxes`.
    Store = 2,
    /// Both.
    #[default]
    Both = 3,
}

/// One step for one tensor: kernel `adamw`.
///
/// Every operation rounds once to f32, in the order that the table of kernels gives. New states
/// are rounded to nearest-even under scales chosen from their own largest magnitudes; FP8
/// saturates.
///
/// # Errors
/// If shapes differ from the gradient's, or a state has a rule that its type does not take.
pub fn adamw(queue: &Queue, step: &AdamW<'_>) -> Result<()> {
    queue.launch(adamw_launch(step)?)
}

/// What [`adamw`] launches, so that the steps of many tensors go to [`Queue::launch_all`] together.
///
/// # Errors
/// As those of [`adamw`].
pub fn adamw_launch(step: &AdamW<'_>) -> Result<Launch> {
    expect_fits(step)?;
    Ok(launch("adamw", step))
}

/// Which states are rounded up or down at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StochasticStates {
    /// The master weights.
    pub master: bool,
    /// The first moment.
    pub m: bool,
    /// The second moment.
    pub v: bool,
}

/// As [`adamw`], with some states rounded to one of their two neighbours, the nearer the likelier, for `words` =
/// (noise, first) element i by the word of element first + i: kernel `adamw_stochastic`.
///
/// # Errors
/// As those of [`adamw`].
pub fn adamw_stochastic(
    queue: &Queue,
    step: &AdamW<'_>,
    states: StochasticStates,
    words: (Noise, u64),
) -> Result<()> {
    queue.launch(adamw_stochastic_launch(step, states, words)?)
}

/// What [`adamw_stochastic`] launches.
///
/// # Errors
/// As those of [`adamw`].
pub fn adamw_stochastic_launch(
    step: &AdamW<'_>,
    states: StochasticStates,
    (noise, first): (Noise, u64),
) -> Result<Launch> {
    expect_fits(step)?;
    let StochasticStates { master, m, v } = states;
    let chosen = u32::from(master) | u32::from(m) << 1 | u32::from(v) << 2;
    let launch = launch("adamw_stochastic", step).u32(chosen).u64(noise.seed);
    // Draws repeat after 2^29 steps, long before numbers of steps no longer fit.
    Ok(launch.u32(noise.tensor).u32(noise.step as u32).u64(first))
}

fn expect_fits(step: &AdamW<'_>) -> Result<()> {
    let scalars = [
        ("grad_scale_inv", step.grad_scale_inv, 1),
        ("clip", step.clip, 1),
        ("corrections", step.corrections, 2),
        ("skip", step.skip, 1),
        ("amaxes", step.amaxes, 3),
    ];
    for (name, tensor, elements) in scalars {
        expect::elements("adamw", name, tensor, elements)?;
    }
    let states = [
        ("master", "master_scale", &step.master),
        ("m", "m_scale", &step.m),
        ("v", "v_scale", &step.v),
    ];
    for (name, scale_name, state) in states {
        expect::shape("adamw", name, state.values, step.grad.shape())?;
        let scales = state.rule.scale_shape(state.values.elements()).elements();
        expect::elements("adamw", scale_name, state.scale, scales)?;
    }
    Ok(())
}

/// The corrections `[2]` of the moments' bias, 1 - beta^t, from powers `[2]` of the betas, which
/// one more step multiplies: kernel `adamw_advance`.
///
/// powers are F64 and start at 1, corrections F32. Where skip `[1]` (U32) is set, powers stay.
pub fn adamw_advance(
    queue: &Queue,
    skip: &Tensor,
    powers: &Tensor,
    corrections: &Tensor,
    beta1: f32,
    beta2: f32,
) -> Result<()> {
    expect::elements("adamw_advance", "skip", skip, 1)?;
    expect::elements("adamw_advance", "powers", powers, 2)?;
    expect::elements("adamw_advance", "corrections", corrections, 2)?;
    let launch = Launch::new("adamw_advance").read(skip).update(powers).write(corrections);
    queue.launch(launch.f32(beta1).f32(beta2))
}

fn launch(kernel: &'static str, step: &AdamW<'_>) -> Launch {
    let states = [step.master, step.m, step.v];
    let inputs = [step.grad, step.grad_scale_inv, step.clip, step.corrections, step.skip];
    let launch = inputs.into_iter().fold(Launch::new(kernel), Launch::read);
    let launch = states
        .into_iter()
        .fold(launch, |launch, state| launch.update(state.values).update(state.scale));
    let launch = states.into_iter().fold(launch, |launch, state| launch.u32(state.rule.code()));
    let numbers = [step.lr, step.beta1, step.beta2, step.eps, step.decay];
    let launch = numbers.into_iter().fold(launch, Launch::f32);
    launch.update(step.amaxes).u32(step.phases as u32)
}
