//! What collectives compute: FP8 codes of several ranks reduced.

use fp8lm_device::{Launch, Queue, Result, Tensor};

use crate::expect;

/// How values of several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum.
    Sum = 0,
    /// Their product.
    Product = 1,
    /// The smallest; NaN loses to a number, -0 is below +0.
    Minimum = 2,
    /// The largest; NaN loses to a number, -0 is below +0.
    Maximum = 3,
}

/// y `[n]` (F32) = the reduction over the ranks, ascending, of code `[ranks, n]` (E4M3 or E5M2), decoded; amax `[1]`
/// (F32) becomes the larger of itself and y's: kernel `reduce_ranks`.
///
/// Rounded to codes once afterwards, y is a sum with one rounding, whatever the number of ranks.
pub fn reduce_ranks(
    queue: &Queue,
    code: &Tensor,
    reduction: Reduction,
    y: &Tensor,
    amax: &Tensor,
) -> Result<()> {
    let ranks = code.shape().dims().first().copied().unwrap_or(0);
    expect::elements("reduce_ranks", "y", y, code.elements().checked_div(ranks).unwrap_or(0))?;
    expect::elements("reduce_ranks", "amax", amax, 1)?;
    let launch = Launch::new("reduce_ranks").read(code).write(y).update(amax);
    queue.launch(launch.extent(ranks).u32(reduction as u32))
}

/// y = SatRNE of the reduction of a and b, all of one FP8 format and shape: kernel `combine_codes`, one hop of NCCL's
/// reductions in FP8 (2.24 and later).
pub fn combine_codes(
    queue: &Queue,
    a: &Tensor,
    b: &Tensor,
    reduction: Reduction,
    y: &Tensor,
) -> Result<()> {
    expect::shape("combine_codes", "b", b, a.shape())?;
    expect::shape("combine_codes", "y", y, a.shape())?;
    queue.launch(Launch::new("combine_codes").read(a).read(b).write(y).u32(reduction as u32))
}
