//! AdamW.

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, DType, Launch, Queue, Reduction, Result, Tensor};
use fp8lm_ops::{self as ops, Phases, ScaleRule, StochasticStates};
use fp8lm_scaling::{Parameter, Rounded, SCALARS, SCALES, Stored};

use crate::clip::{Clip, Outcome, Slot};

/// Hyper-parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The decay of the first moment.
    pub beta1: f64,
    /// The decay of the second moment.
    pub beta2: f64,
    /// What keeps the denominator from 0.
    pub eps: f64,
    /// Decoupled weight decay, of the parameters that it applies to.
    pub weight_decay: f64,
    /// The global norm that gradients are clipped to.
    pub max_norm: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, max_norm: 1.0 }
    }
}

/// AdamW over a fixed set of parameters.
#[derive(Debug)]
pub struct AdamW {
    options: Options,
    group: Arc<dyn Collectives>,
    /// None where another rank steps the parameter.
    moments: Vec<Option<Moments>>,
    clip: Clip,
    /// beta1 and beta2 to the power of the steps taken, F64 [2].
    powers: Tensor,
    corrections: Tensor,
}

/// The moments of one parameter.
#[derive(Debug)]
pub struct Moments {
    /// The first moment, m.
    pub first: Stored,
    /// The second moment, v.
    pub second: Stored,
    /// The largest magnitudes of the new master and moments, F32 [3].
    amaxes: Tensor,
}

impl AdamW {
    /// Moments of 0 for those of these parameters that this rank owns, in the formats that each one's recipe names.
    pub fn new(queue: &Queue, options: Options, parameters: &[&Parameter]) -> Result<Self> {
        let moments = parameters.iter().map(|parameter| match parameter.is_owned() {
            true => Moments::new(queue, parameter).map(Some),
            false => Ok(None),
        });
        Ok(Self {
            options,
            group: Arc::new(Alone),
            moments: moments.collect::<Result<_>>()?,
            clip: Clip::of_all(queue, parameters.len(), options.max_norm as f32)?,
            powers: queue.upload(&[1.0f64, 1.0], 2, SCALES)?,
            corrections: queue.alloc(DType::F32, 2, SCALES)?,
        })
    }

    /// Makes the ranks of a group step together: they agree on the norm, and on whether a step is skipped. `slots` has
    /// the place of each of this rank's parameters among `all` tensors of the group's ranks.
    pub fn over(
        self,
        queue: &Queue,
        group: Arc<dyn Collectives>,
        slots: &[Slot],
        all: usize,
    ) -> Result<Self> {
        let clip = self.clip.over(queue, slots, all)?;
        Ok(Self { group, clip, ..self })
    }

    /// One step of all parameters, in the order given to [`new`](Self::new): clips by the global
    /// norm, updates masters and moments, and makes the working copies anew. Where a gradient is
    /// not finite, on any rank, nothing changes.
    ///
    /// # Panics
    /// If the number of parameters is not that of [`new`](Self::new).
    pub fn step(
        &mut self,
        queue: &Queue,
        parameters: &mut [&mut Parameter],
        learning_rate: f64,
    ) -> Result<Outcome> {
        assert_eq!(parameters.len(), self.moments.len(), "a step takes the optimizer's parameters");
        for parameter in &mut *parameters {
            parameter.gradient_mut().finish(queue)?;
        }
        let outcome = self.clip.measure(queue, self.group.as_ref(), parameters)?;
        self.advance(queue, &outcome)?;
        self.update(queue, parameters, Update { learning_rate, outcome: &outcome })?;
        for parameter in &mut *parameters {
            parameter.gradient_mut().adapt(queue, outcome.skip())?;
            parameter.refresh(queue, parameter.noise().step + 1)?;
        }
        Ok(outcome)
    }

    /// The moments, in the order of the parameters; none where another rank steps the parameter.
    pub fn moments(&self) -> &[Option<Moments>] {
        &self.moments
    }

    /// beta1 and beta2 to the power of the steps taken, F64 `[2]`.
    pub fn powers(&self) -> &Tensor {
        &self.powers
    }

    fn advance(&self, queue: &Queue, outcome: &Outcome) -> Result<()> {
        let (beta1, beta2) = (self.options.beta1 as f32, self.options.beta2 as f32);
        let (powers, corrections) = (&self.powers, &self.corrections);
        ops::adamw_advance(queue, outcome.skip(), powers, corrections, beta1, beta2)
    }

    /// Updates all parameters; shards of one tensor agree on its amaxes in between.
    fn update(&self, queue: &Queue, parameters: &[&mut Parameter], step: Update<'_>) -> Result<()> {
        let owned = || self.owned(parameters);
        let (whole, shards): (Vec<_>, Vec<_>) =
            owned().partition(|(parameter, moments)| !agrees(parameter, moments));
        let of = |phases| move |(parameter, moments)| (parameter, moments, phases);
        let find = shards.iter().copied().map(of(Phases::Find));
        queue.launch_all(&self.launches(find, step)?)?;
        agree(queue, &shards)?;
        let store = shards.iter().copied().map(of(Phases::Store));
        let both = whole.iter().copied().map(of(Phases::Both));
        queue.launch_all(&self.launches(both.chain(store), step)?)
    }

    /// The parameters that this rank steps.
    fn owned<'a>(
        &'a self,
        parameters: &'a [&mut Parameter],
    ) -> impl Iterator<Item = (&'a Parameter, &'a Moments)> {
        let both = parameters.iter().zip(&self.moments);
        both.filter_map(|(parameter, moments)| Some((&**parameter, moments.as_ref()?)))
    }

    /// No two share a tensor that is written, so those of one kernel stand together, as a GPU takes them at once.
    fn launches<'a>(
        &self,
        updates: impl Iterator<Item = (&'a Parameter, &'a Moments, Phases)>,
        step: Update<'_>,
    ) -> Result<Vec<Launch>> {
        let launches = updates
            .map(|(parameter, moments, phases)| self.launch(parameter, moments, phases, step));
        let mut launches: Vec<_> = launches.collect::<Result<_>>()?;
        launches.sort_by_key(Launch::kernel);
        Ok(launches)
    }

    fn launch(
        &self,
        parameter: &Parameter,
        moments: &Moments,
        phases: Phases,
        Update { learning_rate, outcome }: Update<'_>,
    ) -> Result<Launch> {
        let Options { beta1, beta2, eps, weight_decay, .. } = self.options;
        let weight_decay = if parameter.spec().decays { weight_decay } else { 0.0 };
        let launch = ops::AdamW {
            grad: parameter.gradient().result(),
            grad_scale_inv: parameter.gradient().scale_inv(),
            clip: outcome.factor(),
            corrections: &self.corrections,
            skip: outcome.skip(),
            master: parameter.master().state(),
            m: moments.first.state(),
            v: moments.second.state(),
            lr: learning_rate as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: eps as f32,
            decay: (1.0 - learning_rate * weight_decay) as f32,
            amaxes: &moments.amaxes,
            phases,
        };
        let precision = &parameter.spec().precision;
        let states = StochasticStates {
            master: precision.is_stochastic(Rounded::Master),
            m: precision.is_stochastic(Rounded::FirstMoment),
            v: precision.is_stochastic(Rounded::SecondMoment),
        };
        if states == StochasticStates::default() {
            return ops::adamw_launch(&launch);
        }
        let words = (parameter.noise(), parameter.first_word());
        ops::adamw_stochastic_launch(&launch, states, words)
    }
}

/// What is one for all parameters in a step.
#[derive(Clone, Copy)]
struct Update<'a> {
    learning_rate: f64,
    outcome: &'a Outcome,
}

/// Whether a scale follows from amaxes that others have a part of.
fn agrees(parameter: &Parameter, moments: &Moments) -> bool {
    let follows =
        |stored: &Stored| matches!(stored.format().rule, ScaleRule::Exact | ScaleRule::Pow2);
    let states = [parameter.master(), &moments.first, &moments.second];
    parameter.group().size() > 1 && states.into_iter().any(follows)
}

/// Raises the amaxes of shards to those of their tensors, once for each group, in the order of parameters.
fn agree(queue: &Queue, shards: &[(&Parameter, &Moments)]) -> Result<()> {
    let mut groups: Vec<(&Arc<dyn Collectives>, Vec<Tensor>)> = Vec::new();
    for (parameter, moments) in shards {
        let (own, amaxes) = (parameter.group(), moments.amaxes.clone());
        match groups.iter_mut().find(|(group, _)| Arc::ptr_eq(group, own)) {
            Some((_, all)) => all.push(amaxes),
            None => groups.push((own, vec![amaxes])),
        }
    }
    groups.iter().try_for_each(|(group, amaxes)| {
        ops::agree(queue, group.labelled(SCALARS).as_ref(), Reduction::Maximum, amaxes)
    })
}

impl Moments {
    fn new(queue: &Queue, parameter: &Parameter) -> Result<Self> {
        let spec = parameter.spec();
        let zeros = |format, label| Stored::zeros(queue, format, spec.shape, label);
        Ok(Self {
            first: zeros(spec.precision.first_moment, spec.labels.first_moment)?,
            second: zeros(spec.precision.second_moment, spec.labels.second_moment)?,
            amaxes: queue.upload(&[0f32; 3], 3, SCALES)?,
        })
    }
}
