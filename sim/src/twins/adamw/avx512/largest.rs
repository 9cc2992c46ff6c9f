//! The first pass: the largest magnitudes of the new states.
//!
//! Most elements are nowhere near the largest, and a block of them shows it at little cost: every
//! operation on the way to a new moment is monotonic, rounding too, so what comes of the largest
//! old magnitudes bounds what comes of all.

use std::{
    arch::x86_64::*,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{Factors, States};
use crate::{
    lanes::{BLOCK, Known, Lanes, WIDTH},
    twins::adamw::{Step, state::Part},
};

/// Magnitudes, as bits, that new moments of the tensor are known to reach. What is passed over is
/// no larger than one that was counted, so no result depends on how far threads have come.
#[derive(Debug, Default)]
pub(in crate::twins::adamw) struct Floors {
    m: AtomicU32,
    v: AtomicU32,
}

/// The largest magnitudes of the new states of `len` elements from `first` on, a multiple of
/// [`WIDTH`], but for those below the floors; none if a format is not known to `lanes`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(in crate::twins::adamw) fn amaxes(
    step: &Step<'_>,
    first: usize,
    len: usize,
    states: [&Part<'_>; 3],
    with_master: bool,
    floors: &Floors,
) -> Option<[f32; 3]> {
    let grad = Known::of(step.grad.slice)?;
    let [p, m, v] = states.map(Part::known);
    let states = (grad, p?, m?, v?);
    let elements = first..first + len;
    let floors = (!with_master && step.is_monotonic()).then_some(floors);
    // SAFETY: this function has the features.
    Some(unsafe {
        match Factors::folded(step, &states) {
            Some(factors) => largest(&factors, elements, states, floors),
            None => largest(&Factors::<false>::new(step), elements, states, floors),
        }
    })
}

#[inline(always)]
unsafe fn largest<const FOLDED: bool>(
    factors: &Factors<FOLDED>,
    elements: Range<usize>,
    states: States<'_>,
    floors: Option<&Floors>,
) -> [f32; 3] {
    // SAFETY: the caller promises the features.
    unsafe {
        match floors {
            Some(floors) => of_moments(factors, elements, states, floors),
            None => of_all(factors, elements, states),
        }
    }
}

#[inline(always)]
unsafe fn of_all<const FOLDED: bool>(
    factors: &Factors<FOLDED>,
    elements: Range<usize>,
    (grad, p, m, v): States<'_>,
) -> [f32; 3] {
    // SAFETY: the caller promises the features.
    unsafe {
        let mut largest = [_mm512_setzero_si512(); 3];
        for i in elements.step_by(WIDTH) {
            let (m, v) = factors.moments(grad.load(i), m.load(i), v.load(i));
            let p = factors.master(p.load(i), m, v);
            largest[0] = larger(largest[0], p);
            largest[1] = larger(largest[1], m);
            largest[2] = larger(largest[2], v);
        }
        let [p, m, v] = largest;
        [magnitude(p), magnitude(m), magnitude(v)].map(f32::from_bits)
    }
}

/// Of the moments alone, without the blocks that bounds show to be below the floors.
#[inline(always)]
unsafe fn of_moments<const FOLDED: bool>(
    factors: &Factors<FOLDED>,
    elements: Range<usize>,
    (grad, _, m, v): States<'_>,
    floors: &Floors,
) -> [f32; 3] {
    let (mut largest_m, mut largest_v) = (floors.m.load(Relaxed), floors.v.load(Relaxed));
    for first in elements.clone().step_by(BLOCK) {
        let block = first..elements.end.min(first + BLOCK);
        // SAFETY: the caller promises the features.
        unsafe {
            if block.len() == BLOCK {
                let (grad, m, v) = (grad.largest(first), m.largest(first), v.largest(first));
                let (m, v) = factors.moments(grad, m, v);
                if !exceeds(m, largest_m) && !exceeds(v, largest_v) {
                    continue;
                }
            }
            for i in block.step_by(WIDTH) {
                let (m, v) = factors.moments(grad.load(i), m.load(i), v.load(i));
                largest_m = largest_m.max(magnitude(larger(_mm512_setzero_si512(), m)));
                largest_v = largest_v.max(magnitude(larger(_mm512_setzero_si512(), v)));
            }
        }
    }
    floors.m.fetch_max(largest_m, Relaxed);
    floors.v.fetch_max(largest_v, Relaxed);
    [0.0, f32::from_bits(largest_m), f32::from_bits(largest_v)]
}

/// Whether a magnitude is larger than one given by its bits; NaN is.
#[inline(always)]
unsafe fn exceeds(magnitudes: Lanes, floor: u32) -> bool {
    // SAFETY: the caller promises the features.
    unsafe {
        let largest = larger(_mm512_setzero_si512(), magnitudes);
        _mm512_cmpgt_epu32_mask(largest, _mm512_set1_epi32(floor as i32)) != 0
    }
}

/// The larger of bits of magnitudes.
#[inline(always)]
unsafe fn larger(largest: __m512i, [a, b, c, d]: Lanes) -> __m512i {
    // SAFETY: the caller promises the features.
    unsafe {
        let left = _mm512_max_epu32(bits(a), bits(b));
        _mm512_max_epu32(largest, _mm512_max_epu32(left, _mm512_max_epu32(bits(c), bits(d))))
    }
}

#[inline(always)]
unsafe fn bits(value: __m512) -> __m512i {
    // SAFETY: the caller promises the features.
    unsafe { _mm512_castps_si512(_mm512_abs_ps(value)) }
}

/// The bits of the largest, NaN counting as infinite.
#[inline(always)]
unsafe fn magnitude(lanes: __m512i) -> u32 {
    // SAFETY: the caller promises the features.
    unsafe { _mm512_reduce_max_epu32(lanes) }.min(f32::INFINITY.to_bits())
}
