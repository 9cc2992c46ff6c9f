//! f16 to f32 and back, by the processor's own conversions where it has them sixteen at a time.

use fp8lm_formats::Isa;
use half::f16;

use super::Format;

/// By integers and the floating-point adder, so that loops become SIMD code everywhere and every
/// NaN comes out the same.
impl Format for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        let magnitude = u32::from(self.to_bits() & 0x7FFF);
        // 2^-24 is the smallest subnormal; the bias of the exponent grows by 112.
        let subnormal = (magnitude as f32 * f32::from_bits(103 << 23)).to_bits();
        let normal = (magnitude << 13).wrapping_add(112 << 23);
        let special = (magnitude << 13) | 0x7F80_0000;
        let abs = if magnitude < 0x0400 { subnormal } else { normal };
        let abs = if magnitude < 0x7C00 { abs } else { special };
        f32::from_bits(abs | (u32::from(self.to_bits() & 0x8000) << 16))
    }

    /// In the binade of `magic` one unit in the last place is one step of f16 at `abs`, so the
    /// adder rounds, and the low bits of the sum count steps above `origin`.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        const SMALLEST_NORMAL: u32 = 113 << 23;
        const ORIGIN: u32 = (SMALLEST_NORMAL >> 13).wrapping_neg() & 0xFFFF;
        // The step after the largest value is the code of infinity.
        let abs = if value.abs() < 65_536.0 { value.abs() } else { 65_536.0 };
        let exponent = (abs.to_bits() & 0x7F80_0000).max(SMALLEST_NORMAL);
        let magic = exponent.wrapping_add(13 << 23).wrapping_add(ORIGIN);
        let sum = (abs + f32::from_bits(magic)).to_bits();
        let magnitude = sum.wrapping_add(exponent >> 13) as u16;
        let sign = (value.to_bits() >> 16) as u16 & 0x8000;
        f16::from_bits(if value.is_nan() { 0x7FFF } else { magnitude | sign })
    }

    /// As [`Fp8::from_f32_stochastic`](fp8lm_formats::Fp8::from_f32_stochastic), with 13 bits that
    /// do not fit a normal value; what reaches 65,536 is infinite.
    #[inline(always)]
    fn narrow_stochastic(value: f32, random: u32) -> Self {
        const SMALLEST_NORMAL: u32 = 113 << 23;
        let abs = if value.abs() < 65_536.0 { value.abs() } else { 65_536.0 };
        let own_exponent = abs.to_bits() & 0x7F80_0000;
        let exponent = own_exponent.max(SMALLEST_NORMAL);
        let significand = abs.to_bits() & 0x007F_FFFF | 1 << 23;
        let shift = 13 + ((exponent - own_exponent) >> 23);
        let carried = significand + (random >> (32 - shift.min(31)));
        let steps = if shift < 32 { carried >> shift.min(31) } else { 0 };
        let magnitude = (steps + ((exponent - SMALLEST_NORMAL) >> 13)) as u16;
        let sign = (value.to_bits() >> 16) as u16 & 0x8000;
        f16::from_bits(if value.is_nan() { 0x7FFF } else { magnitude | sign })
    }

    #[inline(always)]
    fn load(isa: Isa, values: &[Self], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if isa.has_avx512() {
            let ((values, rest), (out, out_rest)) = (values.as_chunks(), out.as_chunks_mut());
            // SAFETY: the features were found when `isa` was made.
            unsafe { avx512::load(values, out) };
            return super::load(rest, out_rest);
        }
        super::load(values, out);
    }

    #[inline(always)]
    fn store(isa: Isa, values: &[f32], out: &mut [Self]) {
        #[cfg(target_arch = "x86_64")]
        if isa.has_avx512() {
            let ((values, rest), (out, out_rest)) = (values.as_chunks(), out.as_chunks_mut());
            // SAFETY: the features were found when `isa` was made.
            unsafe { avx512::store(values, out) };
            return super::store(out_rest, rest);
        }
        super::store(out, values);
    }
}

/// Sixteen at a time, under the features that [`Isa::has_avx512`] stands for.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use bytemuck::cast;
    use half::f16;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn load(values: &[[f16; 16]], out: &mut [[f32; 16]]) {
        for (out, values) in out.iter_mut().zip(values) {
            *out = cast(_mm512_cvtph_ps(cast(*values)));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn store(values: &[[f32; 16]], out: &mut [[f16; 16]]) {
        for (out, values) in out.iter_mut().zip(values) {
            let x = cast(*values);
            let code = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            *out = cast(_mm256_mask_mov_epi16(code, nan, _mm256_set1_epi16(0x7FFF)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_is_that_of_half() {
        let codes: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        for isa in Isa::available() {
            // Not a multiple of sixteen, so that some are converted one by one.
            let mut values = vec![0.0; codes.len() - 1];
            isa.run(|| f16::load(isa, &codes[1..], &mut values));
            for (code, got) in codes[1..].iter().zip(values) {
                let expected = code.to_f32();
                let same = got.to_bits() == expected.to_bits() || got.is_nan() && code.is_nan();
                assert!(same, "{:#06x} on {}: {got:e}, {expected:e}", code.to_bits(), isa.name());
            }
        }
    }

    #[test]
    fn rounding_is_that_of_half_but_for_nan() {
        // Around the tie of a normal result, with the last kept bit clear and set.
        let low = [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0xFFFF];
        let bits = (0..=u32::from(u16::MAX)).flat_map(|high| low.map(|low| high << 16 | low));
        let values: Vec<f32> = bits.map(f32::from_bits).collect();
        for isa in Isa::available() {
            let mut codes = vec![f16::ZERO; values.len() - 1];
            isa.run(|| f16::store(isa, &values[1..], &mut codes));
            for (value, code) in values[1..].iter().zip(codes) {
                let rounded = f16::from_f32_const(*value).to_bits();
                let expected = if value.is_nan() { 0x7FFF } else { rounded };
                let bits = value.to_bits();
                assert_eq!(code.to_bits(), expected, "{bits:#010x} on {}", isa.name());
            }
        }
    }

    /// The share of all words that round up, exactly: 2^`bits` words stand for them all.
    fn rounded_up<T: Format>(x: f32, bits: u32) -> (f32, f32, u64) {
        let round = |word: u32| T::narrow_stochastic(x, word << (32 - bits)).widen();
        let (below, above) = (round(0), round(u32::MAX >> (32 - bits)));
        let up = (0..1u32 << bits).filter(|word| round(*word) != below).count();
        (below, above, up as u64)
    }

    #[test]
    fn stochastic_rounding_is_right_on_average() {
        let places = [0x3F80_0001, 0x3F80_0FFF, 0x3F81_8001, 0xC2F6_E979, 0x3880_1234, 0xB7C0_FFEE];
        for x in places.map(f32::from_bits) {
            let subnormal_binades = (113 - ((x.to_bits() >> 23) & 0xFF) as i32).max(0) as u32;
            let cases = [
                ("F16", rounded_up::<f16>(x, 13 + subnormal_binades), 13 + subnormal_binades),
                ("BF16", rounded_up::<half::bf16>(x, 16), 16),
            ];
            for (name, (below, above, up), bits) in cases {
                // All of these are exact: 2^bits times the mean of the results, and times x.
                let words = 2f64.powi(bits as i32);
                let (below, above) = (f64::from(below), f64::from(above));
                let sum = below * (words - up as f64) + above * up as f64;
                assert_eq!(sum, f64::from(x) * words, "{name}: {x:e} to {below:e} or {above:e}");
            }
        }
    }

    #[test]
    fn stochastic_rounding_at_the_edges() {
        for word in [0, 1, 0x8000_0000, u32::MAX] {
            for code in (0..=u16::MAX).map(f16::from_bits) {
                let expected = if code.is_nan() { 0x7FFF } else { code.to_bits() };
                let got = f16::narrow_stochastic(code.to_f32(), word).to_bits();
                assert_eq!(got, expected, "{expected:#06x} is its own neighbour");
            }
            let infinite = [65_536.0, 1e30, f32::INFINITY];
            assert!(infinite.iter().all(|x| f16::narrow_stochastic(*x, word) == f16::INFINITY));
            let vanishing = f16::narrow_stochastic(-f32::MIN_POSITIVE, word);
            assert_eq!(vanishing.to_bits(), 0x8000, "the sign stays");
        }
        assert_eq!(f16::narrow_stochastic(65_519.0, u32::MAX), f16::INFINITY);
        assert_eq!(f16::narrow_stochastic(65_519.0, 0), f16::MAX);
        assert_eq!(half::bf16::narrow_stochastic(f32::MAX, u32::MAX), half::bf16::INFINITY);
    }
}
