//! Casts of slices with a scaling factor. The loops have no branches, so they become SIMD code of whatever
//! instruction set the calling function is compiled for.

use crate::decode::canonical;
use crate::encode::Overflow;
use crate::fp8::Fp8;
use crate::layout::Layout;
use crate::philox::Words;

impl<L: Layout> Fp8<L> {
    /// Casts each `x * scale`, the product rounded to `f32` first.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[inline(always)]
    #[track_caller]
    pub fn encode_slice(x: &[f32], scale: f32, out: &mut [Self], overflow: Overflow) {
        assert_eq!(x.len(), out.len(), "as many codes as values");
        for (code, x) in out.iter_mut().zip(x) {
            *code = Self::from_f32(x * scale, overflow);
        }
    }

    /// Casts each `x * scale`, the product rounded to `f32` first, by stochastic rounding with one of `words` each.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[inline(always)]
    #[track_caller]
    pub fn encode_slice_stochastic(
        x: &[f32],
        scale: f32,
        out: &mut [Self],
        overflow: Overflow,
        words: Words,
    ) {
        assert_eq!(x.len(), out.len(), "as many codes as values");
        for ((code, x), word) in out.iter_mut().zip(x).zip(words) {
            *code = Self::from_f32_stochastic(x * scale, word, overflow);
        }
    }

    /// Multiplies each decoded value by `scale_inv`, rounding once. NaNs are canonical, as those of
    /// [`to_f32`](Self::to_f32).
    ///
    /// # Panics
    /// If the slices differ in length.
    #[inline(always)]
    #[track_caller]
    pub fn decode_slice(codes: &[Self], scale_inv: f32, out: &mut [f32]) {
        assert_eq!(codes.len(), out.len(), "as many values as codes");
        for (x, code) in out.iter_mut().zip(codes) {
            *x = canonical(code.to_f32() * scale_inv);
        }
    }
}
