//! What collectives compute: values of several ranks reduced, and counts.

use fp8lm_device::{Launch, Queue, Reduction, Result, Tensor};

use crate::expect;

/// y `[n]` = the reduction over the ranks, ascending, of code `[ranks, n]`, decoded, in f32, times scale `[1]`, rounded
/// to y's type, FP8 saturating: kernel `reduce_ranks`. code and y are F32, BF16, F16 or FP8.
///
/// A sum has one rounding besides those of f32, whatever the number of ranks.
pub fn reduce_ranks(
    queue: &Queue,
    code: &Tensor,
    scale: &Tensor,
    reduction: Reduction,
    y: &Tensor,
) -> Result<()> {
    let ranks = ranks_of(code);
    expect::elements("reduce_ranks", "scale", scale, 1)?;
    expect::elements("reduce_ranks", "y", y, code.elements().checked_div(ranks).unwrap_or(0))?;
    let launch = Launch::new("reduce_ranks").read(code).read(scale).write(y);
    queue.launch(launch.extent(ranks).u32(reduction as u32))
}

/// amax `[1]` (F32) becomes the larger of itself and the amax of what [`reduce_ranks`] makes of code `[ranks, n]`
/// before its scale: kernel `amax_ranks`.
pub fn amax_ranks(queue: &Queue, code: &Tensor, reduction: Reduction, amax: &Tensor) -> Result<()> {
    expect::elements("amax_ranks", "amax", amax, 1)?;
    let launch = Launch::new("amax_ranks").read(code).update(amax);
    queue.launch(launch.extent(ranks_of(code)).u32(reduction as u32))
}

/// y = the reduction of a and b, rounded to their type, FP8 saturating; all of one format and shape: kernel `combine`,
/// one hop of a ring or a tree, in FP8 as NCCL has it (2.24 and later).
pub fn combine(
    queue: &Queue,
    a: &Tensor,
    b: &Tensor,
    reduction: Reduction,
    y: &Tensor,
) -> Result<()> {
    expect::shape("combine", "b", b, a.shape())?;
    expect::shape("combine", "y", y, a.shape())?;
    queue.launch(Launch::new("combine").read(a).read(b).write(y).u32(reduction as u32))
}

/// y `[n]` = the sum over the ranks of x `[ranks, n]`, modulo 2^64; both U64: kernel `sum_counts`.
pub fn sum_counts(queue: &Queue, x: &Tensor, y: &Tensor) -> Result<()> {
    let ranks = ranks_of(x);
    expect::elements("sum_counts", "y", y, x.elements().checked_div(ranks).unwrap_or(0))?;
    queue.launch(Launch::new("sum_counts").read(x).write(y).extent(ranks))
}

/// Adds to count `[1]` (U64) the codes (E4M3 or E5M2) that are their format's largest finite value: kernel
/// `count_largest`.
pub fn count_largest(queue: &Queue, code: &Tensor, count: &Tensor) -> Result<()> {
    expect::elements("count_largest", "count", count, 1)?;
    queue.launch(Launch::new("count_largest").read(code).update(count))
}

/// The rows of a tensor that has one for each rank.
fn ranks_of(x: &Tensor) -> usize {
    x.shape().dims().first().copied().unwrap_or(0)
}
