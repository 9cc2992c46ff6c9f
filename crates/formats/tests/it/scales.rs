//! E8M0: conversions against a search over all powers of two, and the block scaling rules.

use fp8lm_formats::{E4M3, E5M2, E8M0, Overflow};

use crate::grid::power_of_two;

/// The value of a code other than NaN.
fn power(code: u8) -> f64 {
    power_of_two(i32::from(code) - 127)
}

/// Every exponent of `f32` with a few fractions each, of both signs; under Miri every eleventh.
fn samples() -> impl Iterator<Item = f32> {
    const FRACTIONS: [u32; 6] = [0, 1, 0x3F_FFFF, 0x40_0000, 0x40_0001, 0x7F_FFFF];
    (0..512)
        .step_by(if cfg!(miri) { 11 } else { 1 })
        .flat_map(|high| FRACTIONS.map(|fraction| f32::from_bits(high << 23 | fraction)))
}

fn finish(x: f32, found: Option<u8>, overflow: Overflow) -> u8 {
    match overflow {
        _ if x.is_nan() => 0xFF,
        Overflow::Saturate => found.unwrap_or(0xFE),
        Overflow::NonSaturate => found.unwrap_or(0xFF),
    }
}

#[test]
fn all_codes_decode() {
    for code in 0..=0xFE {
        assert_eq!(f64::from(E8M0::from_bits(code).to_f32()), power(code), "code {code:#04x}");
    }
    assert_eq!(E8M0::NAN.to_f32().to_bits(), 0x7FFF_FFFF);
    assert!(E8M0::NAN.is_nan() && !E8M0::MAX.is_nan());
}

#[test]
fn all_f32_exponents_encode() {
    for x in samples() {
        let abs = f64::from(x.abs());
        let up = (0..=0xFE).find(|&code| power(code) >= abs);
        let down =
            abs.is_finite().then(|| (0..=0xFE).rfind(|&code| power(code) <= abs).unwrap_or(0));
        for overflow in [Overflow::Saturate, Overflow::NonSaturate] {
            let got = [E8M0::from_f32_up(x, overflow), E8M0::from_f32_zero(x, overflow)]
                .map(E8M0::to_bits);
            let want = [finish(x, up, overflow), finish(x, down, overflow)];
            assert_eq!(got, want, "{x:e} ({:#010x}), {overflow:?}: [up, toward zero]", x.to_bits());
        }
    }
}

#[test]
fn block_scales_by_hand() {
    let scales = |amax: f32| {
        let scales = [
            E4M3::mx_scale_ocp(amax),
            E4M3::mx_scale_round_up(amax),
            E5M2::mx_scale_ocp(amax),
            E5M2::mx_scale_round_up(amax),
        ];
        scales.map(|scale| i32::from(scale.to_bits()) - 127)
    };
    // Columns: log2 of the OCP and the rounded-up scale for E4M3, then for E5M2.
    assert_eq!(scales(448.0), [0, 0, -7, -7]);
    assert_eq!(scales(448.0f32.next_up()), [0, 1, -7, -6]);
    assert_eq!(scales(512.0), [1, 1, -6, -6]);
    assert_eq!(scales(1.0), [-8, -8, -15, -15]);
    assert_eq!(scales(f32::MAX), [119, 120, 112, 113]);
    // Bytes stay in 1 ..= 254.
    assert_eq!(scales(0.0), [-126; 4]);
    assert_eq!(scales(f32::MIN_POSITIVE), [-126; 4]);
    assert_eq!(scales(f32::INFINITY), [120, 127, 113, 127]);
    assert_eq!(scales(f32::NAN), [120, 127, 113, 127]);
}

/// The round-up rule promises that nothing saturates; the OCP rule that the largest element uses the top binade.
#[test]
fn block_scales_keep_their_promises() {
    for amax in samples().filter(|x| x.is_finite() && *x > 1e-30) {
        let scaled = f64::from(amax) / f64::from(E4M3::mx_scale_round_up(amax).to_f32());
        assert!(scaled <= 448.0 && scaled > 224.0, "{amax:e} becomes {scaled}");
        let scaled = f64::from(amax) / f64::from(E4M3::mx_scale_ocp(amax).to_f32());
        assert!((256.0..512.0).contains(&scaled), "{amax:e} becomes {scaled}");
    }
}
