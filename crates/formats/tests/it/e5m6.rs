//! E5M6 and its packed slices, against values counted from the code.

use crate::grid::{MODES, power_of_two};
use fp8lm_formats::philox::StochasticStream;
use fp8lm_formats::{E5M6, Overflow};

const MAX: u16 = 0x7BF;

/// The value of a magnitude; of 0x7C0 the next step after the largest.
fn magnitude(code: u16) -> f64 {
    let (exponent, fraction) = (i32::from(code >> 6), f64::from(code & 63));
    let significand = if exponent == 0 { fraction } else { fraction + 64.0 };
    significand * power_of_two(exponent.max(1) - 15 - 6)
}

/// The nearest code, ties to the even one.
fn encode(x: f32, overflow: Overflow) -> u16 {
    let abs = f64::from(x.abs()).min(65_536.0);
    let above = (0..=MAX).collect::<Vec<_>>().partition_point(|code| magnitude(*code) < abs) as u16;
    let below = above.saturating_sub(1);
    let middle = (magnitude(below) + magnitude(above)) / 2.0;
    let up = abs > middle || abs == middle && above.is_multiple_of(2);
    let code = if up { above } else { below };
    let code = if overflow == Overflow::Saturate { code.min(MAX) } else { code };
    if x.is_nan() { 0x7FF } else { code | u16::from(x.is_sign_negative()) << 11 }
}

#[track_caller]
fn check(x: f32) {
    for overflow in MODES {
        let (got, want) = (E5M6::from_f32(x, overflow).to_bits(), encode(x, overflow));
        assert!(got == want, "{x:e}, {overflow:?}: got {got:#05x}, want {want:#05x}");
    }
}

#[test]
fn all_codes_decode_and_survive_a_round_trip() {
    for code in 0..1 << 12 {
        let x = E5M6::from_bits(code);
        let (abs, sign) = (code & 0x7FF, if code < 0x800 { 1.0 } else { -1.0 });
        let want = if abs <= MAX { sign * magnitude(abs) } else { sign * f64::INFINITY };
        let is_nan = abs > 0x7C0;
        let want = if is_nan { 0x7FFF_FFFF } else { (want as f32).to_bits() };
        assert_eq!(x.to_f32().to_bits(), want, "{x:?}");
        assert_eq!(x.is_nan(), is_nan, "{x:?}");
        let back = E5M6::from_f32(x.to_f32(), Overflow::NonSaturate);
        assert_eq!(back, if is_nan { E5M6::NAN } else { x });
    }
}

#[test]
fn all_ties_and_their_neighbours_encode() {
    let step = if cfg!(miri) { 97 } else { 1 };
    for code in (0..=MAX).step_by(step) {
        let tie = ((magnitude(code) + magnitude(code + 1)) / 2.0) as f32;
        for bits in tie.to_bits() - 2..=tie.to_bits() + 2 {
            check(f32::from_bits(bits));
            check(-f32::from_bits(bits));
        }
    }
}

#[test]
fn any_pattern_encodes() {
    let special = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX];
    special.into_iter().for_each(check);
    let words = StochasticStream { seed: 5, tensor: 6, draw: 0 }.words(0);
    words.take(if cfg!(miri) { 50 } else { 20_000 }).for_each(|bits| check(f32::from_bits(bits)));
}

#[test]
fn constants_are_what_they_say() {
    assert_eq!(E5M6::MAX_F32, 65_024.0);
    assert_eq!([E5M6::MAX, E5M6::MIN].map(E5M6::to_bits), [0x7BF, 0xFBF]);
    assert_eq!([E5M6::ONE, E5M6::ZERO].map(f32::from), [1.0, 0.0]);
    assert_eq!(f32::from(E5M6::MIN_POSITIVE), 2f32.powi(-14));
    assert_eq!(f32::from(E5M6::MIN_POSITIVE_SUBNORMAL), 2f32.powi(-20));
    assert_eq!(f32::from(E5M6::INFINITY), f32::INFINITY);
    assert_eq!(E5M6::from_bits(0xF3C0), E5M6::ONE);
}

#[test]
fn two_codes_share_three_bytes() {
    let words = StochasticStream { seed: 5, tensor: 7, draw: 0 }.words(0);
    let x: Vec<_> = words.map(|word| f32::from_bits(word & 0xBFFF_FFFF)).take(203).collect();
    for len in (0..70).chain([203]) {
        let mut packed = vec![0xFF; E5M6::packed_bytes(len)];
        E5M6::encode_packed(&x[..len], 0.3, &mut packed, Overflow::Saturate);
        let code = |i: usize| {
            let (byte, next) = (i / 2 * 3 + i % 2, i / 2 * 3 + i % 2 + 1);
            let (low, high) = (u16::from(packed[byte]), u16::from(packed[next]));
            if i.is_multiple_of(2) { low | (high & 15) << 8 } else { low >> 4 | high << 4 }
        };
        let mut decoded = vec![0.0; len];
        E5M6::decode_packed(&packed, 0.7, &mut decoded);
        for i in 0..len {
            let want = E5M6::from_f32_saturating(x[i] * 0.3);
            assert_eq!(code(i), want.to_bits(), "element {i} of {len}, {:e}", x[i]);
            assert_eq!(decoded[i].to_bits(), (want.to_f32() * 0.7).to_bits(), "{i} of {len}");
        }
        assert!(len % 2 == 0 || packed.last().is_some_and(|last| last >> 4 == 0), "{len}");
    }
}

#[test]
#[should_panic(expected = "three bytes for two values")]
fn lengths_must_agree() {
    E5M6::decode_packed(&[0; 3], 1.0, &mut [0.0]);
}
