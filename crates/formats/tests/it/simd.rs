//! Casts for an instruction set give the bits of the scalar casts, with every one that the machine has.

use crate::grid::MODES;
use fp8lm_formats::layout::{self, Layout};
use fp8lm_formats::philox::StochasticStream;
use fp8lm_formats::{E4M3, Fp8, Isa, Overflow, Runs};

/// Every upper half of an `f32`, with lower halves around all ties; then random bits.
fn patterns() -> Vec<f32> {
    let step = if cfg!(miri) { 1999 } else { 1 };
    let lows = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF];
    let highs = (0..=u16::MAX).step_by(step);
    let halves = highs.flat_map(|high| lows.map(|low| f32::from_bits(u32::from(high) << 16 | low)));
    halves.chain(random(100_000 / step)).collect()
}

fn random(len: usize) -> impl Iterator<Item = f32> {
    StochasticStream { seed: 3, tensor: 1, draw: 4 }.words(0).take(len).map(f32::from_bits)
}

#[track_caller]
fn assert_codes<L: Layout>(
    got: &[Fp8<L>],
    x: &[f32],
    want: impl Fn(usize) -> Fp8<L>,
    case: (Isa, Overflow, f32),
) {
    for (i, code) in got.iter().enumerate() {
        let want = want(i);
        assert!(
            *code == want,
            "{} {case:?}: element {i} of {}, {:e}: got {code:?}, want {want:?}",
            L::NAME,
            x.len(),
            x[i]
        );
    }
}

fn check_slices<L: Layout>() {
    let x = patterns();
    for isa in Isa::available() {
        for overflow in MODES {
            for scale in [1.0, 0.3, -3e38, 1e-40, 0.0, f32::INFINITY, f32::NAN] {
                let mut out = vec![Fp8::ZERO; x.len()];
                Fp8::<L>::encode_slice_on(isa, &x, scale, &mut out, overflow);
                let want = |i: usize| Fp8::from_f32(x[i] * scale, overflow);
                assert_codes(&out, &x, want, (isa, overflow, scale));
            }
        }
    }
}

/// Ties of the format times the divisor, and what lies beside them: quotients that a reciprocal gets wrong.
fn near_ties<L: Layout>(divisor: f32) -> Vec<f32> {
    let codes = (0..Fp8::<L>::MAX.to_bits()).map(|code| {
        let [low, high] = [code, code + 1].map(|code| Fp8::<L>::from_bits(code).to_f32());
        (low + high) / 2.0 * divisor
    });
    let beside =
        codes.flat_map(|x| (-4..=4).map(move |ulps| x.to_bits().wrapping_add_signed(ulps)));
    beside.flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)]).collect()
}

fn check_runs<L: Layout>() {
    let divisors = [0.3, 1.0, 2f32.powi(-126), 1.1e-38, 3e38, 1e-42, 0.0, f32::INFINITY, f32::NAN];
    let mantissas = random(if cfg!(miri) { 1 } else { 300 });
    let mantissas = mantissas.map(|x| f32::from_bits(x.to_bits() & 0x007F_FFFF | 0x3A00_0000));
    for divisor in divisors.into_iter().chain(mantissas) {
        let finite = near_ties::<L>(divisor);
        let any = finite.iter().copied().chain(random(1000)).chain([f32::NAN, -0.0]).collect();
        for (x, amax) in [(finite, f32::MAX), (any, f32::INFINITY)] {
            let amax = if x.iter().any(|x| x.is_nan()) { f32::INFINITY } else { amax };
            check_run::<L>(&x, divisor, amax);
        }
    }
}

fn check_run<L: Layout>(x: &[f32], divisor: f32, amax: f32) {
    for isa in Isa::available() {
        for overflow in MODES {
            let mut out = vec![Fp8::<L>::ZERO; x.len()];
            let divisors = vec![divisor; x.len().div_ceil(128)];
            let runs = Runs { divisors: &divisors, len: 128, amax, ahead: 512 };
            Fp8::encode_runs_on(isa, x, runs, &mut out, overflow);
            let want = |i: usize| Fp8::from_f32(x[i] / divisor, overflow);
            assert_codes(&out, x, want, (isa, overflow, divisor));
        }
    }
}

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
    slices_encode_alike: check_slices;
    runs_encode_alike: check_runs;
    slices_decode_alike: check_decode;
}

#[test]
fn runs_have_any_length() {
    let x: Vec<_> = random(700).map(|x| x.abs().min(1e3)).collect();
    for isa in Isa::available() {
        for len in [1, 3, 31, 32, 63, 64, 65, 127, 128, 129, 192, 700, 1000] {
            for count in [0, 1, len.min(700), (2 * len + 1).min(700), 650, 700] {
                let x = &x[..count];
                let divisors: Vec<_> = (0..count.div_ceil(len)).map(|i| 0.1 + i as f32).collect();
                let mut out = vec![E4M3::ZERO; count];
                let runs = Runs { divisors: &divisors, len, amax: f32::MAX, ahead: 0 };
                E4M3::encode_runs_on(isa, x, runs, &mut out, Overflow::Saturate);
                let want = |i: usize| E4M3::from_f32_saturating(x[i] / divisors[i / len]);
                assert_codes(&out, x, want, (isa, Overflow::Saturate, len as f32));
            }
        }
    }
}

#[test]
fn slices_have_any_length_and_place() {
    let x: Vec<_> = random(5 << 20).collect();
    let lens = (0..70).chain([127, 128, 1000, 5 << 20]);
    for (isa, len) in lens.flat_map(|len| Isa::available().map(move |isa| (isa, len))) {
        for first in [0, 1, 63] {
            let x = &x[..len];
            let mut out = vec![E4M3::MIN; first + len + 1];
            let part = &mut out[first..first + len];
            E4M3::encode_slice_on(isa, x, 0.3, part, Overflow::Saturate);
            let want = |i: usize| E4M3::from_f32_saturating(x[i] * 0.3);
            assert_codes(part, x, want, (isa, Overflow::Saturate, len as f32));
            assert_eq!(out[first + len], E4M3::MIN, "nothing behind the end is written");
        }
    }
}

fn check_decode<L: Layout>() {
    let codes: Vec<_> = (0..=u8::MAX).map(Fp8::<L>::from_bits).collect();
    for isa in Isa::available() {
        for scale_inv in [1.0, 0.3, -3e38, 1e-44, 0.0, f32::INFINITY, f32::NAN] {
            for len in [256, 255, 7] {
                let (mut got, mut want) = (vec![0.0f32; len], vec![0.0f32; len]);
                Fp8::decode_slice_on(isa, &codes[..len], scale_inv, &mut got);
                Fp8::decode_slice(&codes[..len], scale_inv, &mut want);
                let [got, want] = [got, want].map(|x| x.into_iter().map(f32::to_bits));
                assert!(got.eq(want), "{} {isa:?}, {scale_inv:e}, {len} codes", L::NAME);
            }
        }
    }
}

#[test]
#[should_panic(expected = "one divisor a run")]
fn every_run_has_a_divisor() {
    let runs = Runs { divisors: &[1.0], len: 2, amax: 1.0, ahead: 0 };
    let isa = Isa::portable();
    E4M3::encode_runs_on(isa, &[1.0; 3], runs, &mut [E4M3::ZERO; 3], MODES[0]);
}
