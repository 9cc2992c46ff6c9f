//! Gradients that are summed over ranks at once.

use fp8lm_collectives::{Codes, Owner, Rounding, agree_amaxes, reduce_codes_of_shards};
use fp8lm_device::{Collectives, DType, Pending, Queue, Reduction, Result, Tensor};
use fp8lm_ops as ops;
use fp8lm_scaling::{GradientCast, SCALES, Unreduced};

use super::replicas;

/// Gradients that wait for their sum, each with the rank that it is for.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    scaled: Vec<(GradientCast, Owner)>,
    plain: Vec<(Tensor, Owner)>,
    bytes: usize,
}

/// How gradients are summed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum<'a> {
    /// The ranks, for gradients in f32.
    pub(super) plain: &'a dyn Collectives,
    /// The same, for those in FP8.
    pub(super) scaled: &'a dyn Collectives,
    /// Those, and the ranks with other shards, for the amaxes of sums in FP8.
    pub(super) scaled_peers: &'a dyn Collectives,
    /// The same, for single numbers.
    pub(super) scalars: &'a dyn Collectives,
    /// Where sums in FP8 are rounded.
    pub(super) rounding: Rounding,
    /// Whether they are summed in f32, by a tree, before they are cast.
    pub(super) as_tree: bool,
}

impl Bucket {
    pub(super) fn push(&mut self, gradient: Unreduced, owner: Owner) {
        match gradient {
            Unreduced::Scaled(cast) => {
                self.bytes += cast.values().view().bytes();
                self.scaled.push((*cast, owner));
            }
            Unreduced::Plain(values) => {
                self.bytes += values.view().bytes();
                self.plain.push((values, owner));
            }
        }
    }

    /// Bytes that each rank adds to the sums.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sums what is in it.
    pub(super) fn sum(self, queue: &Queue, sum: Sum<'_>) -> Result<()> {
        if sum.as_tree {
            return self.sum_as_tree(queue, sum);
        }
        let started = self.plain.iter().map(|(values, owner)| start(queue, sum, values, *owner));
        let started = started.collect::<Result<Vec<_>>>()?;
        self.sum_scaled(queue, sum)?;
        started.into_iter().try_for_each(|pending| pending.wait(queue))
    }

    /// Sums all in f32, and casts what is in FP8 where it is owned.
    fn sum_as_tree(&self, queue: &Queue, sum: Sum<'_>) -> Result<()> {
        let plain = self.plain.iter().map(|(values, owner)| (values, *owner));
        let scaled = self.scaled.iter().map(|(cast, owner)| (cast.gradient(), *owner));
        let all: Vec<_> = plain.chain(scaled).collect();
        replicas::sum(queue, sum.plain, &all)?;
        if self.scaled.is_empty() {
            return Ok(());
        }
        let is_own = |owner: Owner| owner == Owner::All || owner == Owner::Rank(sum.plain.rank());
        let own = || self.scaled.iter().enumerate().filter(|(_, (_, owner))| is_own(*owner));
        let amaxes = queue.alloc(DType::F32, self.scaled.len(), SCALES)?;
        ops::fill(queue, &amaxes, 0.0)?;
        own().try_for_each(|(index, (cast, _))| cast.amax(queue, &amaxes.element(index)))?;
        agree_amaxes(sum.scalars, queue, &amaxes)?.wait(queue)?;
        own().try_for_each(|(index, (cast, _))| cast.run(queue, &amaxes.element(index)))
    }

    /// Casts under scales that the ranks agree on, and sums the codes.
    fn sum_scaled(&self, queue: &Queue, sum: Sum<'_>) -> Result<()> {
        if self.scaled.is_empty() {
            return Ok(());
        }
        let amaxes = queue.alloc(DType::F32, self.scaled.len(), SCALES)?;
        for (index, (cast, _)) in self.scaled.iter().enumerate() {
            cast.amax(queue, &amaxes.element(index))?;
        }
        agree_amaxes(sum.scalars, queue, &amaxes)?.wait(queue)?;
        for (index, (cast, _)) in self.scaled.iter().enumerate() {
            cast.run(queue, &amaxes.element(index))?;
        }
        let codes = self.scaled.iter().map(|(cast, owner)| Codes::of(cast, *owner));
        let codes: Vec<_> = codes.collect();
        reduce_codes_of_shards(sum.scaled, sum.scaled_peers, queue, &codes, sum.rounding)
    }
}

/// Starts the sum of a gradient that is kept in f32.
fn start(queue: &Queue, sum: Sum<'_>, values: &Tensor, owner: Owner) -> Result<Pending> {
    let view = values.view();
    match owner {
        Owner::All => sum.plain.all_reduce(queue, view, Reduction::Sum),
        Owner::Rank(owner) => {
            let part = |rank| view.slice(0, if rank == owner { view.elements() } else { 0 });
            let parts: Vec<_> = (0..sum.plain.size()).map(part).collect();
            sum.plain.reduce_scatter(queue, &parts, Reduction::Sum)
        }
    }
}
