//! Operands, and their panels: as many vectors as a tile has rows or columns, widened to f32 and
//! interleaved, so that the values of one k lie side by side, and so do their exponents.

use std::ops::Range;

use fp8lm_formats::{E4M3, E5M2};
use half::{bf16, f16};

use crate::states::Format;

/// A matrix of vectors along k.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand<'a> {
    stored: Stored<'a>,
    /// The distance between two vectors.
    vector_stride: usize,
    /// The distance between two elements of a vector.
    k_stride: usize,
}

/// The elements of an operand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    E4M3(&'a [E4M3]),
    E5M2(&'a [E5M2]),
}

impl<'a> Operand<'a> {
    /// Vectors of length `k`, each contiguous.
    pub(super) fn k_last(stored: Stored<'a>, k: usize) -> Self {
        Self { stored, vector_stride: k, k_stride: 1 }
    }

    /// Vectors whose elements are `vectors` apart.
    pub(super) fn k_first(stored: Stored<'a>, vectors: usize) -> Self {
        Self { stored, vector_stride: 1, k_stride: vectors }
    }

    /// Writes the part `k` of `vectors` to `panels`, `W` vectors each. A last panel that is not
    /// full is filled up with zeros.
    #[inline(always)]
    pub(super) fn pack<const W: usize>(
        &self,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [f32],
    ) {
        match self.stored {
            Stored::F32(values) => self.pack_typed::<f32, W>(values, vectors, k, panels),
            Stored::F16(values) => self.pack_typed::<f16, W>(values, vectors, k, panels),
            Stored::BF16(values) => self.pack_typed::<bf16, W>(values, vectors, k, panels),
            Stored::E4M3(values) => self.pack_typed::<E4M3, W>(values, vectors, k, panels),
            Stored::E5M2(values) => self.pack_typed::<E5M2, W>(values, vectors, k, panels),
        }
    }

    /// Writes the exponents of packed values, as many as there is room for: that of the leading
    /// bit, or of the type's smallest normal number if that is larger, and [`EXPONENT_BIAS`]; 0 for
    /// zeros.
    #[inline(always)]
    pub(super) fn exponents(&self, panels: &[f32], exponents: &mut [u16]) {
        let smallest_normal = match self.stored {
            Stored::F32(_) | Stored::BF16(_) => -126,
            Stored::F16(_) | Stored::E5M2(_) => -14,
            Stored::E4M3(_) => -6,
        };
        for (value, exponent) in panels.iter().zip(exponents) {
            let bits = value.to_bits() << 1;
            let leading = (bits >> 24) as i32 - 127;
            let biased = leading.max(smallest_normal) + EXPONENT_BIAS;
            *exponent = if bits == 0 { 0 } else { biased as u16 };
        }
    }

    #[inline(always)]
    fn pack_typed<T: Format, const W: usize>(
        &self,
        values: &[T],
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [f32],
    ) {
        if k.is_empty() {
            return;
        }
        let (panels, _) = panels.as_chunks_mut::<W>();
        let panels = panels[..vectors.len().div_ceil(W) * k.len()].chunks_mut(SPAN / W * k.len());
        for (first, panels) in vectors.clone().step_by(SPAN).zip(panels) {
            let part = &values[first * self.vector_stride + k.start * self.k_stride..];
            let width = SPAN.min(vectors.end - first);
            if self.k_stride == 1 {
                interleave(part, self.vector_stride, width, k.len(), panels);
            } else {
                copy(part, self.k_stride, width, k.len(), panels);
            }
        }
    }
}

/// Panels of `width` contiguous vectors, `stride` apart.
#[inline(always)]
fn interleave<T: Format, const W: usize>(
    values: &[T],
    stride: usize,
    width: usize,
    k: usize,
    panels: &mut [[f32; W]],
) {
    for (index, panel) in panels.chunks_exact_mut(k).enumerate() {
        let mut runs = [[0.0; RUN]; W];
        for (start, steps) in (0..k).step_by(RUN).zip(panel.chunks_mut(RUN)) {
            for (vector, run) in (index * W..width).zip(&mut runs) {
                widen_all(&values[vector * stride + start..][..steps.len()], run);
            }
            for (i, step) in steps.iter_mut().enumerate() {
                *step = std::array::from_fn(|lane| runs[lane][i]);
            }
        }
    }
}

/// Panels of `width` vectors side by side, each k `stride` after the one before it.
#[inline(always)]
fn copy<T: Format, const W: usize>(
    values: &[T],
    stride: usize,
    width: usize,
    k: usize,
    panels: &mut [[f32; W]],
) {
    let mut runs = [[0.0; SPAN]; STEPS];
    for start in (0..k).step_by(STEPS) {
        for (k, run) in (start..k).zip(&mut runs) {
            widen_all(&values[k * stride..][..width], run);
        }
        for (index, panel) in panels.chunks_exact_mut(k).enumerate() {
            for (step, run) in panel[start..].iter_mut().zip(&runs) {
                step.copy_from_slice(&run[index * W..][..W]);
            }
        }
    }
}

#[inline(always)]
fn widen_all<T: Format>(values: &[T], out: &mut [f32]) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = value.widen());
}

/// What keeps exponents, from -126 to 128, clear of the 0 of zeros, also when two are added.
pub(super) const EXPONENT_BIAS: i32 = 1024;

/// Elements of a contiguous vector that are widened before they are interleaved.
const RUN: usize = 64;
/// Vectors side by side that are widened at once: panels of six and of sixteen both fill it.
const SPAN: usize = 48;
/// Steps of k for which they are widened before they are copied to their panels.
const STEPS: usize = 16;
