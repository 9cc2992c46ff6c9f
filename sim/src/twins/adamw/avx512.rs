//! Both passes of a step in AVX-512: the conversions, products and divisions of 64 elements run
//! side by side, and nothing but the states themselves passes through memory.

use std::arch::x86_64::*;

use super::{Step, state::Part};
use crate::lanes::{Known, KnownMut, Lanes, WIDTH};

mod largest;

pub(super) use largest::{Floors, amaxes};

/// Gradient, master weights and moments.
type States<'a> = (Known<'a>, Known<'a>, Known<'a>, Known<'a>);

/// Stores the new states of the first `len` elements of parts that begin at element `first`, a
/// multiple of [`WIDTH`]; of none if a format is not known to `lanes`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(super) fn store(
    step: &Step<'_>,
    first: usize,
    len: usize,
    states: [&mut Part<'_>; 3],
) -> Option<()> {
    let grad = Known::of(step.grad.slice)?;
    let scales = states.each_ref().map(|part| part.scale);
    let [p, m, v] = states.map(Part::known_mut);
    let (p, m, v) = (p?, m?, v?);
    let old = (grad, p.as_known(), m.as_known(), v.as_known());
    // SAFETY: this function has the features.
    unsafe {
        match Factors::folded(step, &old) {
            Some(factors) => update(&factors, (grad, first), [p, m, v], scales, len),
            None => {
                update(&Factors::<false>::new(step), (grad, first), [p, m, v], scales, len);
            }
        }
    }
    Some(())
}

#[inline(always)]
unsafe fn update<const FOLDED: bool>(
    factors: &Factors<FOLDED>,
    (grad, first): (Known<'_>, usize),
    [mut p, mut m, mut v]: [KnownMut<'_>; 3],
    scales: [f32; 3],
    len: usize,
) {
    for i in (0..len).step_by(WIDTH) {
        // SAFETY: the caller promises the features.
        unsafe {
            let moments = factors.moments(grad.load(first + i), m.load(i), v.load(i));
            let master = factors.master(p.load(i), moments.0, moments.1);
            // Last what waits for the divisions.
            m.store(i, scaled(moments.0, scales[1]));
            v.store(i, scaled(moments.1, scales[2]));
            p.store(i, scaled(master, scales[0]));
        }
    }
}

/// The scalars of a step. Folded, what a stored value is multiplied by first is 1, and is left
/// out.
struct Factors<const FOLDED: bool> {
    grad_scale_inv: __m512,
    clip: __m512,
    inverses: [__m512; 3],
    step: __m512,
    root: __m512,
    beta1: __m512,
    rest1: __m512,
    beta2: __m512,
    rest2: __m512,
    eps: __m512,
    decay: __m512,
}

impl Factors<true> {
    /// The inverses of scales multiplied into the factors beside them, if every one is exact on
    /// all that its format holds, so that no bit shows it.
    #[inline(always)]
    unsafe fn folded(step: &Step<'_>, (grad, p, m, v): &States<'_>) -> Option<Self> {
        let (ip, im, iv) = (step.inverses[0], step.inverses[1], step.inverses[2]);
        let folded = Step {
            clip: fold(grad, step.grad_scale_inv, step.clip)?,
            decay: fold(p, ip, step.decay)?,
            ..*step
        };
        // SAFETY: the caller promises the features.
        unsafe {
            Some(Self {
                beta1: _mm512_set1_ps(fold(m, im, step.beta1)?),
                beta2: _mm512_set1_ps(fold(v, iv, step.beta2)?),
                ..Self::new(&folded)
            })
        }
    }
}

/// The product of the inverse of a scale and of the factor that follows it.
///
/// A power of two rounds nothing as long as all results are normal. Values in FP8 and F16 are 0 or
/// between 2^-24 and 2^16, the two others here between 2^-100 and 2^100 together.
fn fold(stored: &Known<'_>, inverse: f32, factor: f32) -> Option<f32> {
    let is_power_of_two = inverse.to_bits() & 0x007F_FFFF == 0;
    let is_moderate = |x: f32| (2f32.powi(-50)..=2f32.powi(50)).contains(&x);
    let exact = match stored {
        Known::F32(_) => inverse == 1.0,
        Known::F16(_) | Known::E4M3(_) => {
            is_power_of_two && is_moderate(inverse) && is_moderate(factor)
        }
    };
    exact.then_some(inverse * factor)
}

impl<const FOLDED: bool> Factors<FOLDED> {
    #[inline(always)]
    unsafe fn new(step: &Step<'_>) -> Self {
        let [p, m, v] = step.inverses;
        // SAFETY: the caller promises the features.
        unsafe {
            Self {
                grad_scale_inv: _mm512_set1_ps(step.grad_scale_inv),
                clip: _mm512_set1_ps(step.clip),
                inverses: [_mm512_set1_ps(p), _mm512_set1_ps(m), _mm512_set1_ps(v)],
                step: _mm512_set1_ps(step.step),
                root: _mm512_set1_ps(step.root),
                beta1: _mm512_set1_ps(step.beta1),
                rest1: _mm512_set1_ps(1.0 - step.beta1),
                beta2: _mm512_set1_ps(step.beta2),
                rest2: _mm512_set1_ps(1.0 - step.beta2),
                eps: _mm512_set1_ps(step.eps),
                decay: _mm512_set1_ps(step.decay),
            }
        }
    }

    /// As [`Step::moments`].
    #[inline(always)]
    unsafe fn moments(&self, g: Lanes, mut m: Lanes, mut v: Lanes) -> (Lanes, Lanes) {
        let [_, from_m, from_v] = self.inverses;
        // By index: of iterators the compiler would make a loop, with registers in memory.
        for i in 0..4 {
            // SAFETY: the caller promises the features.
            unsafe {
                let g = _mm512_mul_ps(unscaled::<FOLDED>(g[i], self.grad_scale_inv), self.clip);
                let kept = unscaled::<FOLDED>(_mm512_mul_ps(self.beta1, m[i]), from_m);
                m[i] = _mm512_add_ps(kept, _mm512_mul_ps(self.rest1, g));
                let kept = unscaled::<FOLDED>(_mm512_mul_ps(self.beta2, v[i]), from_v);
                v[i] = _mm512_add_ps(kept, _mm512_mul_ps(self.rest2, _mm512_mul_ps(g, g)));
            }
        }
        (m, v)
    }

    /// As [`Step::master`].
    #[inline(always)]
    unsafe fn master(&self, mut p: Lanes, m: Lanes, v: Lanes) -> Lanes {
        for i in 0..4 {
            // SAFETY: the caller promises the features.
            unsafe {
                let root = _mm512_div_ps(_mm512_sqrt_ps(v[i]), self.root);
                let direction = _mm512_div_ps(m[i], _mm512_add_ps(root, self.eps));
                let kept = _mm512_mul_ps(unscaled::<FOLDED>(p[i], self.inverses[0]), self.decay);
                p[i] = _mm512_sub_ps(kept, _mm512_mul_ps(self.step, direction));
            }
        }
        p
    }
}

#[inline(always)]
unsafe fn unscaled<const FOLDED: bool>(value: __m512, inverse: __m512) -> __m512 {
    // SAFETY: the caller promises the features.
    if FOLDED { value } else { unsafe { _mm512_mul_ps(value, inverse) } }
}

/// A scale of 1 changes nothing.
#[inline(always)]
unsafe fn scaled(values: Lanes, scale: f32) -> Lanes {
    if scale == 1.0 {
        return values;
    }
    let [a, b, c, d] = values;
    // SAFETY: the caller promises the features.
    unsafe {
        let scale = _mm512_set1_ps(scale);
        [
            _mm512_mul_ps(a, scale),
            _mm512_mul_ps(b, scale),
            _mm512_mul_ps(c, scale),
            _mm512_mul_ps(d, scale),
        ]
    }
}
