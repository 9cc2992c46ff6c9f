//! Casts, constants and classification against the grid oracle and by hand.

use core::num::FpCategory;

use crate::grid::{Described, MODES, assert_code, power_of_two};
use fp8lm_formats::layout::{self, Layout};
use fp8lm_formats::philox::StochasticStream;
use fp8lm_formats::{E4M3, E4M3Fnuz, E5M2, E5M2Fnuz, Fp8, Overflow};
use half::{bf16, f16};

macro_rules! for_all_layouts {
    ($($test:ident: $check:ident;)*) => {$(
        #[test]
        fn $test() {
            $check::<layout::E4M3>();
            $check::<layout::E5M2>();
            $check::<layout::E4M3Fnuz>();
            $check::<layout::E5M2Fnuz>();
        }
    )*};
}

for_all_layouts! {
    all_codes_decode: check_decode;
    all_codes_classify: check_classify;
    all_codes_survive_a_round_trip: check_round_trip;
    all_f16_and_bf16_encode: check_halves;
    all_ties_and_their_f64_neighbours_encode: check_ties;
    random_f64_patterns_encode: check_f64;
}

fn codes<L: Layout>() -> impl Iterator<Item = Fp8<L>> {
    (0..=u8::MAX).map(Fp8::from_bits)
}

fn check_decode<L: Described>() {
    for x in codes::<L>() {
        let want = L::GRID.decode(x.to_bits());
        if want.is_nan() {
            assert_eq!(x.to_f32().to_bits(), 0x7FFF_FFFF, "{} {x:?}", L::NAME);
            assert!(x.to_f64().is_nan(), "{} {x:?}", L::NAME);
            assert_eq!(x.to_f16().to_bits(), 0x7FFF, "{} {x:?}", L::NAME);
            assert_eq!(x.to_bf16().to_bits(), 0x7FFF, "{} {x:?}", L::NAME);
        } else {
            assert_eq!(
                x.to_f32().to_bits(),
                (want as f32).to_bits(),
                "{} {x:?}, want {want}",
                L::NAME
            );
            assert_eq!(x.to_f64().to_bits(), want.to_bits(), "{} {x:?}, want {want}", L::NAME);
            assert_eq!(
                x.to_f16().to_f64().to_bits(),
                want.to_bits(),
                "{} {x:?}, want {want}",
                L::NAME
            );
            assert_eq!(
                x.to_bf16().to_f64().to_bits(),
                want.to_bits(),
                "{} {x:?}, want {want}",
                L::NAME
            );
        }
    }
}

fn check_classify<L: Described>() {
    for x in codes::<L>() {
        let value = L::GRID.decode(x.to_bits());
        let subnormal = value != 0.0 && value.abs() < Fp8::<L>::MIN_POSITIVE.to_f64();
        let want = if subnormal { FpCategory::Subnormal } else { value.classify() };
        assert_eq!(x.classify(), want, "{} {x:?}", L::NAME);
        assert_eq!(x.is_nan(), want == FpCategory::Nan, "{} {x:?}", L::NAME);
        assert_eq!(x.is_infinite(), want == FpCategory::Infinite, "{} {x:?}", L::NAME);
        assert_eq!(x.is_finite(), value.is_finite(), "{} {x:?}", L::NAME);
        assert_eq!(x.is_zero(), want == FpCategory::Zero, "{} {x:?}", L::NAME);
        assert_eq!(x.is_subnormal(), want == FpCategory::Subnormal, "{} {x:?}", L::NAME);
        assert_eq!(x.is_sign_negative(), x.to_bits() >= 0x80, "{} {x:?}", L::NAME);
    }
}

fn check_round_trip<L: Layout>() {
    for x in codes::<L>() {
        let want = if x.is_nan() { Fp8::NAN } else { x };
        assert_eq!(Fp8::from_f32_nonsaturating(x.to_f32()), want, "{}", L::NAME);
        assert_eq!(Fp8::from_f64_nonsaturating(x.to_f64()), want, "{}", L::NAME);
        assert_eq!(Fp8::from_f16(x.to_f16(), Overflow::NonSaturate), want, "{}", L::NAME);
        assert_eq!(Fp8::from_bf16(x.to_bf16(), Overflow::NonSaturate), want, "{}", L::NAME);
    }
}

fn check_halves<L: Described>() {
    // Prime, so that the few patterns which Miri has time for differ in all fields.
    let step = if cfg!(miri) { 509 } else { 1 };
    for bits in (0..=u16::MAX).step_by(step) {
        let (x, y) = (f16::from_bits(bits), bf16::from_bits(bits));
        for overflow in MODES {
            let want = L::GRID.encode(x.to_f64(), overflow);
            assert_code(Fp8::<L>::from_f16(x, overflow), want, x.to_f64(), overflow);
            let want = L::GRID.encode(y.to_f64(), overflow);
            assert_code(Fp8::<L>::from_bf16(y, overflow), want, y.to_f64(), overflow);
        }
    }
}

/// Rounding through a nearest-even `f32` would fail here: it moves the `f64` neighbours of a tie onto the tie.
fn check_ties<L: Described>() {
    let max = Fp8::<L>::MAX.to_bits();
    for below in (0..=max).step_by(if cfg!(miri) { 9 } else { 1 }) {
        let tie = (L::GRID.magnitude(below) + L::GRID.magnitude(below + 1)) / 2.0;
        for x in [tie.next_down(), tie, tie.next_up(), -tie.next_down(), -tie, -tie.next_up()] {
            check_value::<L>(x);
        }
        let tie = tie as f32;
        for x in [tie.next_down(), tie, tie.next_up(), -tie.next_down(), -tie, -tie.next_up()] {
            check_value::<L>(x.into());
        }
    }
}

fn check_f64<L: Described>() {
    let mut words = StochasticStream { seed: 64, tensor: 0, draw: 0 }.words(0);
    for _ in 0..if cfg!(miri) { 200 } else { 100_000 } {
        let bits = words.by_ref().take(2).fold(0, |high, low| high << 32 | u64::from(low));
        check_value::<L>(f64::from_bits(bits));
        // The same fraction in the format's own range, where almost no random exponent falls.
        let exponent = 1023 - 20 + (bits >> 52) % 40;
        check_value::<L>(f64::from_bits(bits & 0x800F_FFFF_FFFF_FFFF | exponent << 52));
    }
}

/// Checks the casts from `f64`, and those from `f32` if it is one.
fn check_value<L: Described>(x: f64) {
    for overflow in MODES {
        let want = L::GRID.encode(x, overflow);
        assert_code(Fp8::<L>::from_f64(x, overflow), want, x, overflow);
        if f64::from(x as f32) == x {
            assert_code(Fp8::<L>::from_f32(x as f32, overflow), want, x, overflow);
        }
    }
}

#[test]
fn constants_have_the_published_values() {
    fn row<L: Layout>() -> [f64; 5] {
        let constants =
            [Fp8::<L>::MAX, Fp8::MIN, Fp8::MIN_POSITIVE, Fp8::MIN_POSITIVE_SUBNORMAL, Fp8::EPSILON];
        constants.map(Fp8::to_f64)
    }
    assert_eq!(
        row::<layout::E4M3>(),
        [448.0, -448.0, power_of_two(-6), power_of_two(-9), power_of_two(-3)]
    );
    assert_eq!(
        row::<layout::E5M2>(),
        [57344.0, -57344.0, power_of_two(-14), power_of_two(-16), power_of_two(-2)]
    );
    assert_eq!(
        row::<layout::E4M3Fnuz>(),
        [240.0, -240.0, power_of_two(-7), power_of_two(-10), power_of_two(-3)]
    );
    assert_eq!(
        row::<layout::E5M2Fnuz>(),
        [57344.0, -57344.0, power_of_two(-15), power_of_two(-17), power_of_two(-2)]
    );
    assert_eq!([E4M3::ONE.to_f32(), E5M2::ONE.to_f32()], [1.0, 1.0]);
    assert_eq!([E4M3Fnuz::ONE.to_f32(), E5M2Fnuz::ONE.to_f32()], [1.0, 1.0]);
    assert_eq!([E4M3::MAX_EXPONENT, E5M2::MAX_EXPONENT], [8, 15]);
    assert_eq!([E4M3Fnuz::MAX_EXPONENT, E5M2Fnuz::MAX_EXPONENT], [7, 15]);
    assert_eq!([E4M3::MAX_F32, E5M2::MAX_F32], [448.0, 57344.0]);
    assert_eq!([E4M3::NAN.to_bits(), E5M2::NAN.to_bits()], [0x7F, 0x7F]);
    assert_eq!([E4M3Fnuz::NAN.to_bits(), E5M2Fnuz::NAN.to_bits()], [0x80, 0x80]);
    assert_eq!(
        [E5M2::INFINITY.to_f32(), E5M2::NEG_INFINITY.to_f32()],
        [f32::INFINITY, f32::NEG_INFINITY]
    );
}

#[test]
fn rounding_by_hand() {
    let e4m3 = |x: f32| {
        [Overflow::Saturate, Overflow::NonSaturate].map(|mode| E4M3::from_f32(x, mode).to_bits())
    };
    let e5m2 = |x: f32| {
        [Overflow::Saturate, Overflow::NonSaturate].map(|mode| E5M2::from_f32(x, mode).to_bits())
    };
    // The tie between 448 and the 480 that E4M3 lacks goes to 448; that of E5M2 at 61,440 goes to infinity.
    assert_eq!(e4m3(464.0), [0x7E, 0x7E]);
    assert_eq!(e4m3(464.0f32.next_up()), [0x7E, 0x7F]);
    assert_eq!(e4m3(-464.0f32.next_up()), [0xFE, 0xFF]);
    assert_eq!(e5m2(61440.0f32.next_down()), [0x7B, 0x7B]);
    assert_eq!(e5m2(61440.0), [0x7B, 0x7C]);
    assert_eq!(e5m2(-61440.0), [0xFB, 0xFC]);
    assert_eq!(e4m3(f32::INFINITY), [0x7E, 0x7F]);
    assert_eq!(e4m3(f32::NEG_INFINITY), [0xFE, 0xFF]);
    assert_eq!(e5m2(f32::INFINITY), [0x7B, 0x7C]);
    assert_eq!(e5m2(f32::NEG_INFINITY), [0xFB, 0xFC]);
    assert_eq!(
        [e4m3(f32::NAN), e4m3(-f32::NAN), e5m2(f32::NAN), e5m2(-f32::NAN)],
        [[0x7F, 0x7F]; 4]
    );
    // Signalling, with a payload that only the low half of the word holds.
    assert_eq!(
        [e4m3(f32::from_bits(0xFF80_0001)), e5m2(f32::from_bits(0x7F80_0001))],
        [[0x7F, 0x7F]; 2]
    );
    // 17 lies between 16 (0x58) and 18; 19 between 18 and 20 (0x5A).
    assert_eq!([e4m3(17.0), e4m3(19.0)], [[0x58, 0x58], [0x5A, 0x5A]]);
    // Half the smallest subnormal goes to zero and keeps its sign; the largest subnormal can round to a normal.
    let (half_e4m3, half_e5m2) = (power_of_two(-10) as f32, power_of_two(-17) as f32);
    assert_eq!([e4m3(half_e4m3), e4m3(half_e4m3.next_up())], [[0, 0], [1, 1]]);
    assert_eq!([e4m3(-half_e4m3), e4m3(-half_e4m3.next_up())], [[0x80, 0x80], [0x81, 0x81]]);
    assert_eq!([e4m3(3.0 * half_e4m3), e4m3(5.0 * half_e4m3)], [[2, 2], [2, 2]]);
    assert_eq!([e4m3(15.0 * half_e4m3), e5m2(7.0 * half_e5m2)], [[8, 8], [4, 4]]);
    assert_eq!([e5m2(half_e5m2), e5m2(half_e5m2.next_up())], [[0, 0], [1, 1]]);
    assert_eq!([e4m3(-f32::from_bits(1)), e5m2(-0.0)], [[0x80, 0x80]; 2]);
}

#[test]
fn fnuz_rounding_by_hand() {
    let code = |x: f32| {
        [Overflow::Saturate, Overflow::NonSaturate]
            .map(|mode| E4M3Fnuz::from_f32(x, mode).to_bits())
    };
    let half_smallest = power_of_two(-11) as f32;
    assert_eq!([code(0.0), code(-0.0), code(-half_smallest)], [[0, 0]; 3]);
    assert_eq!(code(-half_smallest.next_up()), [0x81, 0x81]);
    assert_eq!(code(248.0f32.next_down()), [0x7F, 0x7F]);
    assert_eq!([code(248.0), code(f32::INFINITY)], [[0x7F, 0x80]; 2]);
    assert_eq!([code(-248.0), code(f32::NEG_INFINITY)], [[0xFF, 0x80]; 2]);
    assert_eq!(code(-f32::NAN), [0x80, 0x80]);
}

#[test]
fn casts_are_const() {
    const CODE: E4M3 = E4M3::from_f64(0.1, Overflow::Saturate);
    const VALUE: f32 = CODE.to_f32();
    assert_eq!(VALUE, 0.1015625);
}

#[test]
fn values_print_as_numbers() {
    assert_eq!(
        format!("{} {:?} {:5.1}", E4M3::MAX, E5M2::NEG_INFINITY, E4M3::ONE),
        "448 -inf (0xfc)   1.0"
    );
}
