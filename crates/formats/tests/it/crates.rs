//! Millions of `f32` patterns against two independent crates: `float8`, which saturates, and `microfloat`, which does
//! not.

use ::float8::{F8E4M3, F8E5M2};
use fp8lm_formats::philox::StochasticStream;
use fp8lm_formats::{E4M3, E4M3Fnuz, E5M2, E5M2Fnuz};
use microfloat::{f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz};

#[test]
fn seeded_f32_patterns_encode_as_elsewhere() {
    let patterns = if cfg!(miri) { 500 } else { 4_000_000 };
    for bits in (StochasticStream { seed: 32, tensor: 0, draw: 0 }).words(0).take(patterns) {
        check(f32::from_bits(bits));
        // The same fraction between 2^-20 and 2^20, where every format has its range.
        check(f32::from_bits(bits & 0x807F_FFFF | (107 + (bits >> 23) % 40) << 23));
    }
}

fn check(x: f32) {
    if x.is_nan() {
        // Their NaNs have other codes: `float8` gives 0x7E in E5M2, `microfloat` keeps the sign.
        return;
    }
    assert_same(
        x,
        E4M3::from_f32_saturating(x).to_bits(),
        F8E4M3::from_f32(x).to_bits(),
        "float8 E4M3",
    );
    assert_same(
        x,
        E5M2::from_f32_saturating(x).to_bits(),
        F8E5M2::from_f32(x).to_bits(),
        "float8 E5M2",
    );
    if x.abs() != 464.0 {
        // `microfloat` takes the tie between 448 and the missing 480 for an overflow.
        assert_same(
            x,
            E4M3::from_f32_nonsaturating(x).to_bits(),
            f8e4m3fn::from_f32(x).to_bits(),
            "microfloat E4M3",
        );
    }
    assert_same(
        x,
        E5M2::from_f32_nonsaturating(x).to_bits(),
        f8e5m2::from_f32(x).to_bits(),
        "microfloat E5M2",
    );
    let ours = E4M3Fnuz::from_f32_nonsaturating(x).to_bits();
    assert_same(x, ours, f8e4m3fnuz::from_f32(x).to_bits(), "microfloat E4M3Fnuz");
    let ours = E5M2Fnuz::from_f32_nonsaturating(x).to_bits();
    assert_same(x, ours, f8e5m2fnuz::from_f32(x).to_bits(), "microfloat E5M2Fnuz");
}

#[track_caller]
fn assert_same(x: f32, ours: u8, theirs: u8, oracle: &str) {
    assert!(
        ours == theirs,
        "{oracle}: {x:e} ({:#010x}): got {ours:#04x}, want {theirs:#04x}",
        x.to_bits()
    );
}

#[cfg(feature = "float8")]
#[test]
fn float8_types_keep_their_codes() {
    for bits in 0..=u8::MAX {
        assert_eq!(E4M3::from(F8E4M3::from_bits(bits)).to_bits(), bits);
        assert_eq!(F8E4M3::from(E4M3::from_bits(bits)).to_bits(), bits);
        assert_eq!(E5M2::from(F8E5M2::from_bits(bits)).to_bits(), bits);
        assert_eq!(F8E5M2::from(E5M2::from_bits(bits)).to_bits(), bits);
    }
}

#[cfg(feature = "serde")]
#[test]
fn serde_writes_codes_and_names() {
    use fp8lm_formats::{DType, E8M0, Overflow};

    let written = serde_json::to_string(&(E4M3::MAX, E8M0::ONE, Overflow::NonSaturate)).unwrap();
    assert_eq!(written, r#"[126,127,"non_saturate"]"#);
    assert_eq!(
        serde_json::from_str::<(E4M3, E8M0, Overflow)>(&written).unwrap(),
        (E4M3::MAX, E8M0::ONE, Overflow::NonSaturate)
    );
    for dtype in DType::ALL {
        assert_eq!(serde_json::to_value(dtype).unwrap(), dtype.name());
    }
}
