//! A sum over members whose terms travel as FP8 codes.

use fp8lm_device::{Collectives, DType, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, ACTIVATIONS, BlockCast, BlockRule, Blocks};
use fp8lm_scaling::SCALES;

use super::{COLUMNS, SCALARS, Split};

/// The own rows of the sum of every member's `partial`: each is cast to E4M3 in tiles of 128 neighbours in a row, the
/// own one too; whoever has the rows decodes them to f32, adds them in the order of members from +0, and rounds once to
/// the type of `partial`.
pub(super) fn reduce(split: &Split, queue: &Queue, partial: &Tensor) -> Result<Tensor> {
    let (code, factors) = cast(queue, partial)?;
    let code = exchange(split, queue, &code, &*split.group.labelled(COLUMNS))?;
    let factors = exchange(split, queue, &factors, &*split.group.labelled(SCALARS))?;
    let terms = queue.alloc(DType::F32, partial.shape(), ACTIVATIONS)?;
    ops::dequantize_blocks(queue, &code, &factors, Blocks::Tile, &terms)?;
    let terms = split.parts(&terms);
    let sum = queue.alloc(DType::F32, terms[0].shape(), ACTIVATIONS)?;
    ops::fill(queue, &sum, 0.0)?;
    terms.iter().try_for_each(|term| ops::accumulate(queue, term, &sum))?;
    ops::cast(queue, &sum, partial.dtype())
}

/// Codes, and the factor of each tile.
fn cast(queue: &Queue, x: &Tensor) -> Result<(Tensor, Tensor)> {
    let code = queue.alloc(DType::E4M3, [x.rows(), x.cols()], ACTIVATIONS)?;
    let factors = queue.alloc(DType::F32, Blocks::Tile.scale_shape(x.shape()), SCALES)?;
    let amax = queue.upload(&[0.0f32], 1, SCALES)?;
    let counts = queue.upload(&[0u64; 2], 2, SCALES)?;
    let cast = BlockCast { blocks: Blocks::Tile, rule: BlockRule::Exact, divide: true };
    ops::quantize_blocks(queue, x, cast, &code, &factors, &amax, &counts)?;
    Ok((code, factors))
}

/// Every member's rows of `x` go to it; what comes back are the own rows of every member's `x`, in the same shape.
fn exchange(split: &Split, queue: &Queue, x: &Tensor, group: &dyn Collectives) -> Result<Tensor> {
    let received = queue.alloc(x.dtype(), x.shape(), ACTIVATIONS)?;
    let [sends, receives] = [x, &received]
        .map(|x| split.parts(x).into_iter().map(|part| part.view().clone()).collect::<Vec<_>>());
    group.all_to_all(queue, &sends, &receives)?.wait(queue)?;
    Ok(received)
}
