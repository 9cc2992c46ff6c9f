//! FP8 operands as pairs of BF16, two steps of k in a word.

use std::ops::Range;

use fp8lm_formats::{Fp8, layout::Layout};

use super::operand::{Operand, Stored};

/// Two steps of k in BF16, the earlier one in the high half.
pub(super) type Pair = u32;

/// Writes the part `k` of `vectors` to `panels`, `W` vectors each, as [`Operand::pack`] does. An odd
/// step is paired with the code `fill`.
///
/// # Panics
/// If the operand is not of FP8.
#[inline(always)]
pub(super) fn pack<const W: usize>(
    operand: &Operand<'_>,
    vectors: Range<usize>,
    k: Range<usize>,
    fill: u8,
    panels: &mut [[Pair; W]],
) {
    match operand.stored {
        Stored::E4M3(codes) => pack_typed(operand, codes, vectors, k, fill, panels),
        Stored::E5M2(codes) => pack_typed(operand, codes, vectors, k, fill, panels),
        _ => unreachable!("only FP8 is exact in pairs"),
    }
}

#[inline(always)]
fn pack_typed<L: Layout, const W: usize>(
    operand: &Operand<'_>,
    codes: &[Fp8<L>],
    vectors: Range<usize>,
    k: Range<usize>,
    fill: u8,
    panels: &mut [[Pair; W]],
) {
    if k.is_empty() {
        return;
    }
    let fill = Fp8::from_bits(fill);
    let firsts = vectors.clone().step_by(W);
    for (first, panel) in firsts.zip(panels.chunks_exact_mut(k.len().div_ceil(2))) {
        let codes = &codes[first * operand.vector_stride + k.start * operand.k_stride..];
        let width = W.min(vectors.end - first);
        if operand.k_stride == 1 {
            interleave(codes, operand.vector_stride, width, k.len(), fill, panel);
        } else {
            copy(codes, operand.k_stride, width, k.len(), fill, panel);
        }
    }
}

/// A panel of `width` contiguous vectors, `stride` apart.
#[inline(always)]
fn interleave<L: Layout, const W: usize>(
    codes: &[Fp8<L>],
    stride: usize,
    width: usize,
    k: usize,
    fill: Fp8<L>,
    panel: &mut [[Pair; W]],
) {
    let mut runs = [[0; RUN]; W];
    for (start, steps) in (0..k).step_by(2 * RUN).zip(panel.chunks_mut(RUN)) {
        for (vector, run) in runs.iter_mut().enumerate().take(width) {
            let len = (k - start).min(2 * RUN);
            let mut padded = [fill; 2 * RUN];
            padded[..len].copy_from_slice(&codes[vector * stride + start..][..len]);
            let (pairs, _) = padded.as_chunks::<2>();
            run.iter_mut().zip(pairs).for_each(|(run, codes)| *run = pair(codes[0], codes[1]));
        }
        for (i, step) in steps.iter_mut().enumerate() {
            *step = std::array::from_fn(|lane| runs[lane][i]);
        }
    }
}

/// A panel of `width` vectors side by side, each k `stride` after the one before it.
#[inline(always)]
fn copy<L: Layout, const W: usize>(
    codes: &[Fp8<L>],
    stride: usize,
    width: usize,
    k: usize,
    fill: Fp8<L>,
    panel: &mut [[Pair; W]],
) {
    let load = |k: usize, codes: &[Fp8<L>]| {
        let mut row = [fill; W];
        row[..width].copy_from_slice(&codes[k * stride..][..width]);
        row
    };
    for (i, step) in panel.iter_mut().enumerate() {
        let high = load(2 * i, codes);
        let low = if 2 * i + 1 < k { load(2 * i + 1, codes) } else { [fill; W] };
        *step = std::array::from_fn(|lane| pair(high[lane], low[lane]));
    }
}

#[inline(always)]
pub(super) fn pair<L: Layout>(high: Fp8<L>, low: Fp8<L>) -> Pair {
    high.to_f32().to_bits() & 0xFFFF_0000 | low.to_f32().to_bits() >> 16
}

/// Pairs of a contiguous vector that are made before they are interleaved.
const RUN: usize = 32;
