//! Cross-entropy fused with softmax, of logits on one rank or with the columns shared out over a group.

use fp8lm_device::{Collectives, DType, Launch, Queue, Reduction, Result, Tensor};

use crate::{ACTIVATIONS, Share, expect};

/// The loss of every row, f32 `[rows]`, and `gradient_scale` times its gradient, in the type of
/// `logits` [rows, cols], for one target a row, u32 `[rows]`: kernel `cross_entropy`.
///
/// Arithmetic is f32, one rounding a step, the sum canonical; the gradient is rounded to its type
/// once. A target outside the vocabulary gives a loss of NaN and a gradient of NaN; another shape
/// is an error.
pub fn cross_entropy(
    queue: &Queue,
    logits: &Tensor,
    targets: &Tensor,
    gradient_scale: f32,
) -> Result<(Tensor, Tensor)> {
    expect::elements("cross_entropy", "targets", targets, logits.rows())?;
    let loss = queue.alloc(DType::F32, logits.rows(), ACTIVATIONS)?;
    let dlogits = queue.alloc(logits.dtype(), logits.shape(), ACTIVATIONS)?;
    let launch = Launch::new("cross_entropy").read(logits).read(targets).write(&loss);
    let launch = launch.write(&dlogits).extent(logits.rows()).extent(logits.cols());
    queue.launch(launch.f32(gradient_scale))?;
    Ok((loss, dlogits))
}

/// As [`cross_entropy`], of logits whose columns a group shares: `logits` [rows, cols] are those of this rank's
/// [`Share`], and so is the gradient; the loss is the same on all.
///
/// The group agrees on the rows' maxima, and on their sums and the logits at the targets, 12 bytes a row in all. Maxima
/// are exact; a sum is that of the members' canonical sums in the group's order, and nothing else differs from
/// `cross_entropy` in a bit.
pub fn cross_entropy_over(
    queue: &Queue,
    group: &dyn Collectives,
    logits: &Tensor,
    targets: &Tensor,
    gradient_scale: f32,
) -> Result<(Tensor, Tensor)> {
    if group.size() == 1 {
        return cross_entropy(queue, logits, targets, gradient_scale);
    }
    let share = Share::of(group);
    let maxima = cross_entropy_maxima(queue, logits)?;
    group.all_reduce(queue, maxima.view(), Reduction::Maximum)?.wait(queue)?;
    let sums = cross_entropy_sums(queue, logits, targets, &maxima, share)?;
    group.all_reduce(queue, sums.view(), Reduction::Sum)?.wait(queue)?;
    let agreed = Agreed { maxima: &maxima, sums: &sums };
    cross_entropy_gradient(queue, logits, targets, agreed, (share, gradient_scale))
}

/// The largest of each row of `logits` [rows, cols], F32 `[rows]`: kernel `cross_entropy_maxima`.
///
/// Exact; a NaN is passed over, for the sums meet it again.
pub fn cross_entropy_maxima(queue: &Queue, logits: &Tensor) -> Result<Tensor> {
    let maxima = queue.alloc(DType::F32, logits.rows(), ACTIVATIONS)?;
    let launch = Launch::new("cross_entropy_maxima").read(logits).write(&maxima);
    queue.launch(launch.extent(logits.rows()).extent(logits.cols()))?;
    Ok(maxima)
}

/// For each row of a share of logits, with the maxima of all columns, the canonical sum of its exponentials and its
/// logit at the target, or 0 where that is another member's, F32 `[2, rows]`: kernel `cross_entropy_sums`.
///
/// A target outside the vocabulary makes the sum NaN.
pub fn cross_entropy_sums(
    queue: &Queue,
    logits: &Tensor,
    targets: &Tensor,
    maxima: &Tensor,
    share: Share,
) -> Result<Tensor> {
    let (rows, cols) = (logits.rows(), logits.cols());
    expect::elements("cross_entropy_sums", "targets", targets, rows)?;
    expect::elements("cross_entropy_sums", "maxima", maxima, rows)?;
    let sums = queue.alloc(DType::F32, [2, rows], ACTIVATIONS)?;
    let launch = Launch::new("cross_entropy_sums").read(logits).read(targets).read(maxima);
    let launch = launch.write(&sums).extent(rows).extent(cols).extent(share.first(cols));
    queue.launch(launch.extent(share.vocabulary(cols)))?;
    Ok(sums)
}

/// What a group agreed on about the rows of its logits.
#[derive(Clone, Copy, Debug)]
pub struct Agreed<'a> {
    /// The largest of each row, F32 `[rows]`.
    pub maxima: &'a Tensor,
    /// The sums of the members' [`cross_entropy_sums`], F32 `[2, rows]`.
    pub sums: &'a Tensor,
}

/// The loss of every row, and the gradient of a share of its logits times a scale: kernel `cross_entropy_gradient`.
pub fn cross_entropy_gradient(
    queue: &Queue,
    logits: &Tensor,
    targets: &Tensor,
    agreed: Agreed<'_>,
    (share, gradient_scale): (Share, f32),
) -> Result<(Tensor, Tensor)> {
    let (rows, cols) = (logits.rows(), logits.cols());
    expect::elements("cross_entropy_gradient", "targets", targets, rows)?;
    expect::elements("cross_entropy_gradient", "maxima", agreed.maxima, rows)?;
    expect::elements("cross_entropy_gradient", "sums", agreed.sums, 2 * rows)?;
    let loss = queue.alloc(DType::F32, rows, ACTIVATIONS)?;
    let dlogits = queue.alloc(logits.dtype(), logits.shape(), ACTIVATIONS)?;
    let launch = Launch::new("cross_entropy_gradient").read(logits).read(targets);
    let launch = launch.read(agreed.maxima).read(agreed.sums).write(&loss).write(&dlogits);
    let launch = launch.extent(rows).extent(cols).extent(share.first(cols));
    queue.launch(launch.f32(gradient_scale))?;
    Ok((loss, dlogits))
}
