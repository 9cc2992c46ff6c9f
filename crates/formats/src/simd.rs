//! Casts of slices for an instruction set that is chosen at run time.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::encode::Overflow;
use crate::fp8::Fp8;
use crate::isa::Isa;
use crate::layout::Layout;

/// What divides each run of neighbours in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    /// One divisor a run.
    pub divisors: &'a [f32],
    /// Elements of a run, of which the last may have fewer.
    pub len: usize,
    /// No magnitude is larger; infinite if there may be a NaN.
    pub amax: f32,
    /// How many values further on the caller reads next: they are fetched meanwhile. Of no effect on codes.
    pub ahead: usize,
}

/// The same bits with any instruction set.
impl<L: Layout> Fp8<L> {
    /// As [`encode_slice`](Self::encode_slice), compiled for `isa`. Codes of several megabytes go past the caches.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[track_caller]
    pub fn encode_slice_on(isa: Isa, x: &[f32], scale: f32, out: &mut [Self], overflow: Overflow) {
        assert_eq!(x.len(), out.len(), "as many codes as values");
        #[cfg(target_arch = "x86_64")]
        if isa.has_avx512() {
            // SAFETY: the features were found when `isa` was made.
            return unsafe {
                if out.len() < STREAM {
                    avx512::encode::<L, false>(x, scale, out, overflow)
                } else {
                    avx512::encode::<L, true>(x, scale, out, overflow)
                }
            };
        }
        isa.run(
            #[inline(always)]
            || Self::encode_slice(x, scale, out, overflow),
        )
    }

    /// As [`decode_slice`](Self::decode_slice), compiled for `isa`.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[track_caller]
    pub fn decode_slice_on(isa: Isa, codes: &[Self], scale_inv: f32, out: &mut [f32]) {
        isa.run(
            #[inline(always)]
            || Self::decode_slice(codes, scale_inv, out),
        );
    }

    /// Casts each `x / divisor` of its run, the quotient rounded to `f32` first, compiled for `isa`.
    ///
    /// ```
    /// use fp8lm_formats::{E4M3, Isa, Overflow, Runs};
    ///
    /// let x = [1.0, 2.0, 30.0, 40.0, 0.5];
    /// let mut codes = [E4M3::ZERO; 5];
    /// let runs = Runs { divisors: &[2.0, 40.0, 0.5], len: 2, amax: 40.0, ahead: 0 };
    /// E4M3::encode_runs_on(Isa::best(), &x, runs, &mut codes, Overflow::Saturate);
    /// assert_eq!(codes.map(f32::from), [0.5, 1.0, 0.75, 1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// If the slices differ in length, or there is not one divisor a run.
    #[track_caller]
    pub fn encode_runs_on(
        isa: Isa,
        x: &[f32],
        runs: Runs<'_>,
        out: &mut [Self],
        overflow: Overflow,
    ) {
        let Runs { divisors, len, amax, .. } = runs;
        assert_eq!(x.len(), out.len(), "as many codes as values");
        assert_eq!(divisors.len(), x.len().div_ceil(len), "one divisor a run");
        #[cfg(target_arch = "x86_64")]
        if isa.has_avx512() {
            // SAFETY: the features were found when `isa` was made.
            return unsafe {
                if amax.is_finite() {
                    avx512::encode_runs::<L, true>(x, runs, out, overflow)
                } else {
                    avx512::encode_runs::<L, false>(x, runs, out, overflow)
                }
            };
        }
        for ((x, out), divisor) in x.chunks(len).zip(out.chunks_mut(len)).zip(divisors) {
            isa.run(
                #[inline(always)]
                || encode_divided(x, *divisor, out, overflow),
            );
        }
    }
}

#[inline(always)]
fn encode_divided<L: Layout>(x: &[f32], divisor: f32, out: &mut [Fp8<L>], overflow: Overflow) {
    for (code, x) in out.iter_mut().zip(x) {
        *code = Fp8::from_f32(x / divisor, overflow);
    }
}

/// Codes that no cache is likely to hold until they are read.
const STREAM: usize = 4 << 20;
