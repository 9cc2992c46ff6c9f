//! Operands, and their panels: as many vectors as a tile has rows or columns, widened to f32 and
//! interleaved, so that the values of one k lie side by side.

use std::ops::Range;

use fp8lm_formats::{E4M3, E5M2};
use half::{bf16, f16};

use crate::states::Format;

/// A matrix of vectors along k.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand<'a> {
    pub(super) stored: Stored<'a>,
    /// The distance between two vectors.
    pub(super) vector_stride: usize,
    /// The distance between two elements of a vector.
    pub(super) k_stride: usize,
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

    /// The codes of an operand in FP8.
    pub(super) fn fp8_codes(&self) -> &'a [u8] {
        match self.stored {
            Stored::E4M3(values) => bytemuck::cast_slice(values),
            Stored::E5M2(values) => bytemuck::cast_slice(values),
            _ => panic!("only models of FP8 ask for codes, and their kernels take nothing else"),
        }
    }

    pub(super) fn is_e5m2(&self) -> bool {
        matches!(self.stored, Stored::E5M2(_))
    }

    /// Whether it is of E4M3 or E5M2.
    pub(super) fn is_fp8(&self) -> bool {
        matches!(self.stored, Stored::E4M3(_) | Stored::E5M2(_))
    }

    /// Writes the part `k` of `vectors` to `panels`, `W` vectors each. A last panel that is not
    /// full is filled up with zeros.
    #[inline(always)]
    pub(super) fn pack<S: Step<W>, const W: usize>(
        &self,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [S],
    ) {
        match self.stored {
            Stored::F32(values) => self.pack_typed(values, -126, vectors, k, panels),
            Stored::F16(values) => self.pack_typed(values, -14, vectors, k, panels),
            Stored::BF16(values) => self.pack_typed(values, -126, vectors, k, panels),
            Stored::E4M3(values) => self.pack_typed(values, -6, vectors, k, panels),
            Stored::E5M2(values) => self.pack_typed(values, -14, vectors, k, panels),
        }
    }

    /// The same, with the exponent of the type's smallest normal number.
    #[inline(always)]
    fn pack_typed<T: Format, S: Step<W>, const W: usize>(
        &self,
        values: &[T],
        min_exponent: i32,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [S],
    ) {
        if k.is_empty() {
            return;
        }
        let span = SPAN / W * W;
        let panels = panels.chunks_mut(span / W * k.len());
        for (first, panels) in vectors.clone().step_by(span).zip(panels) {
            let part = &values[first * self.vector_stride + k.start * self.k_stride..];
            let width = span.min(vectors.end - first);
            if self.k_stride == 1 {
                interleave(part, self.vector_stride, width, k.len(), panels, min_exponent);
            } else {
                copy(part, self.k_stride, width, k.len(), panels, min_exponent);
            }
        }
    }
}

/// One step of k in a panel of `W` vectors.
pub(super) trait Step<const W: usize> {
    /// From the values, of a type whose smallest normal number has that exponent.
    fn pack(values: [f32; W], min_exponent: i32) -> Self;
}

impl<const W: usize> Step<W> for [f32; W] {
    #[inline(always)]
    fn pack(values: [f32; W], _: i32) -> Self {
        values
    }
}

/// Panels of `width` contiguous vectors, `stride` apart.
#[inline(always)]
fn interleave<T: Format, S: Step<W>, const W: usize>(
    values: &[T],
    stride: usize,
    width: usize,
    k: usize,
    panels: &mut [S],
    min_exponent: i32,
) {
    for (index, panel) in panels.chunks_exact_mut(k).enumerate() {
        let mut runs = [[0.0; RUN]; W];
        for (start, steps) in (0..k).step_by(RUN).zip(panel.chunks_mut(RUN)) {
            for (vector, run) in (index * W..width).zip(&mut runs) {
                widen_all(&values[vector * stride + start..][..steps.len()], run);
            }
            for (i, step) in steps.iter_mut().enumerate() {
                *step = S::pack(std::array::from_fn(|lane| runs[lane][i]), min_exponent);
            }
        }
    }
}

/// Panels of `width` vectors side by side, each k `stride` after the one before it.
#[inline(always)]
fn copy<T: Format, S: Step<W>, const W: usize>(
    values: &[T],
    stride: usize,
    width: usize,
    k: usize,
    panels: &mut [S],
    min_exponent: i32,
) {
    let mut runs = [[0.0; SPAN]; STEPS];
    for start in (0..k).step_by(STEPS) {
        for (k, run) in (start..k).zip(&mut runs) {
            widen_all(&values[k * stride..][..width], run);
        }
        for (index, panel) in panels.chunks_exact_mut(k).enumerate() {
            for (step, run) in panel[start..].iter_mut().zip(&runs) {
                *step = S::pack(std::array::from_fn(|lane| run[index * W + lane]), min_exponent);
            }
        }
    }
}

#[inline(always)]
fn widen_all<T: Format>(values: &[T], out: &mut [f32]) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = value.widen());
}

/// Elements of a contiguous vector that are widened before they are interleaved.
const RUN: usize = 64;
/// Vectors side by side that are widened at once, at most.
const SPAN: usize = 64;
/// Steps of k for which they are widened before they are copied to their panels.
const STEPS: usize = 16;
