//! Gradients in FP8, summed over ranks.

use fp8lm_device::{Collectives, DType, Queue, Reduction, Result, Tensor};
use fp8lm_ops::{self as ops, ScaleRule};
use fp8lm_scaling::GradientCast;

use crate::{
    Owner, Shared,
    execute::COMMUNICATION,
    rescaled::{Groups, reduce_rescaled_over, views},
};

/// One gradient, as this rank has it: codes under a scale on which all ranks agree. They become those of the sum.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    /// E4M3 or E5M2. Where the sum is another rank's alone, they are undefined afterwards.
    pub values: &'a Tensor,
    /// What multiplied before the cast, F32 `[1]`. It becomes what the mean over ranks was multiplied by, so that
    /// decoding gives the mean; it is undefined where the sum is another rank's.
    pub scale: &'a Tensor,
    /// Its reciprocal, F32 `[1]`.
    pub scale_inv: &'a Tensor,
    /// How the sum's scale follows from its amax, under [`Rounding::Once`].
    pub rule: ScaleRule,
    /// Who gets the sum.
    pub owner: Owner,
    /// U64 `[1]`. Under [`Rounding::EachHop`] it grows by the codes of the sum that are the format's largest, in this
    /// rank's part: added over ranks, each counts once.
    pub largest: &'a Tensor,
}

/// Where a sum is rounded to FP8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Once: summed in f32, rank after rank, and cast under a new scale that the sum's own amax gives.
    Once,
    /// Where the group's algorithm rounds, under the scale of the codes: at each hop of a ring or a tree.
    EachHop,
}

/// Sums gradients over the ranks of a group. All is enqueued on `queue`, and ordered there.
///
/// Under [`Rounding::Once`] they go through [`reduce_rescaled`](crate::reduce_rescaled), which gives t; under
/// [`Rounding::EachHop`] they are summed by an all-reduce or a reduce-scatter in their own format, and t = 1. Then
/// scale = RN(ranks * RN(scale * t)), scale_inv = RN(1 / scale).
pub fn reduce_codes(
    group: &dyn Collectives,
    queue: &Queue,
    tensors: &[Codes<'_>],
    rounding: Rounding,
) -> Result<()> {
    reduce_codes_of_shards(group, group, queue, tensors, rounding)
}

/// As [`reduce_codes`], where the tensors are shards. `peers` are the ranks of `group` and those with the other shards,
/// which sum them at the same time: they agree on the amaxes of the sums, so that under [`Rounding::Once`] the sum of a
/// tensor is its shards' sums, one beside the other, to the bit.
pub fn reduce_codes_of_shards(
    group: &dyn Collectives,
    peers: &dyn Collectives,
    queue: &Queue,
    tensors: &[Codes<'_>],
    rounding: Rounding,
) -> Result<()> {
    let shared: Vec<_> = tensors.iter().map(Codes::shared).collect();
    let factors = match rounding {
        Rounding::Once => {
            let groups = Groups { group, peers };
            reduce_rescaled_over(groups, queue, &shared, Reduction::Sum)?
        }
        Rounding::EachHop => {
            shared.iter().try_for_each(|tensor| tensor.check(group.size()))?;
            tensors.iter().try_for_each(|tensor| tensor.reduce_by_hops(group, queue))?;
            let one = queue.alloc(DType::F32, 1, COMMUNICATION)?;
            ops::fill(queue, &one, 1.0)?;
            vec![one; tensors.len()]
        }
    };
    for (Codes { scale, scale_inv, .. }, factor) in tensors.iter().zip(&factors) {
        ops::rescale(queue, scale, factor, scale_inv, group.size())?;
    }
    Ok(())
}

impl<'a> Codes<'a> {
    /// Those of a cast that was made under an agreed scale.
    pub fn of(cast: &'a GradientCast, owner: Owner) -> Self {
        let [scale, scale_inv] = cast.scales();
        let (values, rule, largest) = (cast.values(), cast.rule(), cast.largest());
        Self { values, scale, scale_inv, rule, owner, largest }
    }

    fn shared(&self) -> Shared<'a> {
        let Self { values, rule, owner, .. } = *self;
        Shared { values, rule, owner }
    }

    fn reduce_by_hops(&self, group: &dyn Collectives, queue: &Queue) -> Result<()> {
        let view = self.values.view();
        let parts = views(view, &self.owner.ranges(view.elements(), group.size()));
        match self.owner {
            Owner::All => group.all_reduce(queue, view, Reduction::Sum)?.wait(queue)?,
            Owner::Rank(_) => {
                group.reduce_scatter(queue, &parts, Reduction::Sum)?.wait(queue)?;
            }
        }
        let own = parts[group.rank()].clone();
        let elements = own.elements();
        if elements == 0 {
            return Ok(());
        }
        ops::count_largest(queue, &Tensor::new(own, elements.into()), self.largest)
    }
}
