//! Slices give the bits of the scalar casts, for every length and wherever a shard begins.

use fp8lm_formats::layout::{self, Layout};
use fp8lm_formats::philox::StochasticStream;
use fp8lm_formats::{E4M3, E5M2, Fp8, Overflow};

const STREAM: StochasticStream = StochasticStream { seed: 7, tensor: 1, draw: 0 };

/// Random patterns, so all exponents and a few NaNs, with the special values in front.
fn patterns(len: usize) -> Vec<f32> {
    let special =
        [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e9, f32::from_bits(1)];
    special.into_iter().chain(STREAM.words(0).map(f32::from_bits)).take(len).collect()
}

fn check_encode<L: Layout>() {
    let (step, long) = if cfg!(miri) { (23, 100) } else { (1, 100_003) };
    for len in (0..70).step_by(step).chain([long]) {
        let x = patterns(len);
        for overflow in [Overflow::Saturate, Overflow::NonSaturate] {
            let mut out = vec![Fp8::<L>::ZERO; len];
            Fp8::encode_slice(&x, 0.3, &mut out, overflow);
            for (i, code) in out.iter().enumerate() {
                let want = Fp8::<L>::from_f32(x[i] * 0.3, overflow);
                assert_eq!(
                    *code,
                    want,
                    "{} {overflow:?}: element {i} of {len}, {:e}",
                    L::NAME,
                    x[i]
                );
            }
        }
    }
}

fn check_decode<L: Layout>() {
    let codes: Vec<_> = (0..=u8::MAX).map(Fp8::<L>::from_bits).collect();
    for scale_inv in [1.0, 0.3, -3e38, 1e-44, 0.0, f32::INFINITY, f32::NAN] {
        for len in [256, 255, 7] {
            let mut out = vec![0.0; len];
            Fp8::decode_slice(&codes[..len], scale_inv, &mut out);
            for (i, x) in out.iter().enumerate() {
                let want = codes[i].to_f32() * scale_inv;
                let want = if want.is_nan() { 0x7FFF_FFFF } else { want.to_bits() };
                assert_eq!(
                    x.to_bits(),
                    want,
                    "{}: {:?} * {scale_inv:e} of {len}",
                    L::NAME,
                    codes[i]
                );
            }
        }
    }
}

#[test]
fn slices_encode_like_scalars() {
    check_encode::<layout::E4M3>();
    check_encode::<layout::E5M2>();
    check_encode::<layout::E4M3Fnuz>();
    check_encode::<layout::E5M2Fnuz>();
}

#[test]
fn slices_decode_like_scalars() {
    check_decode::<layout::E4M3>();
    check_decode::<layout::E5M2>();
    check_decode::<layout::E4M3Fnuz>();
    check_decode::<layout::E5M2Fnuz>();
}

#[test]
fn stochastic_slices_do_not_depend_on_sharding() {
    let x = patterns(300);
    let whole: Vec<_> = (0..)
        .zip(&x)
        .map(|(i, x)| E4M3::from_f32_stochastic(x * 0.3, STREAM.word(i), Overflow::Saturate))
        .collect();
    for cut in [0, 1, 2, 3, 4, 150, 299, 300] {
        let mut out = vec![E4M3::ZERO; x.len()];
        let (left, right) = out.split_at_mut(cut);
        E4M3::encode_slice_stochastic(&x[..cut], 0.3, left, Overflow::Saturate, STREAM.words(0));
        E4M3::encode_slice_stochastic(
            &x[cut..],
            0.3,
            right,
            Overflow::Saturate,
            STREAM.words(cut as u64),
        );
        assert_eq!(out, whole, "cut at {cut}");
    }
}

#[test]
fn codes_are_bytes() {
    assert_eq!(bytemuck::cast_slice::<E5M2, u8>(&[E5M2::MAX, E5M2::ZERO]), [0x7B, 0]);
}

#[test]
#[should_panic(expected = "as many codes as values")]
fn lengths_must_agree() {
    E4M3::encode_slice(&[1.0; 3], 1.0, &mut [E4M3::ZERO; 2], Overflow::Saturate);
}
