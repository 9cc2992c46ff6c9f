//! Operands, and their panels: as many vectors as a tile has rows or columns, widened to f32 and
//! interleaved, so that the values of one k lie side by side.

use std::ops::Range;

use fp8lm_formats::{E4M3, E5M2};
use half::bf16;

use crate::floats::widen;

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
            Stored::BF16(values) => self.pack_typed::<bf16, W>(values, vectors, k, panels),
            Stored::E4M3(values) => self.pack_typed::<E4M3, W>(values, vectors, k, panels),
            Stored::E5M2(values) => self.pack_typed::<E5M2, W>(values, vectors, k, panels),
        }
    }

    #[inline(always)]
    fn pack_typed<T: Widen, const W: usize>(
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
fn interleave<T: Widen, const W: usize>(
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
fn copy<T: Widen, const W: usize>(
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
fn widen_all<T: Widen>(values: &[T], out: &mut [f32]) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = value.widen());
}

/// A type whose values are all f32.
trait Widen: Copy {
    fn widen(self) -> f32;
}

impl Widen for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Widen for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        widen(self)
    }
}

impl Widen for E4M3 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

impl Widen for E5M2 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

/// Elements of a contiguous vector that are widened before they are interleaved.
const RUN: usize = 64;
/// Vectors side by side that are widened at once: panels of six and of sixteen both fill it.
const SPAN: usize = 48;
/// Steps of k for which they are widened before they are copied to their panels.
const STEPS: usize = 16;
