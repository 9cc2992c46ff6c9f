//! `encode` and `decode`.

use fp8lm_formats::{E4M3, E5M2, E8M0, Fp8, Overflow, layout, philox::StochasticStream};

use super::{Files, Stored, emulate, f32, machines, noise, u8};

fn encode(x: &[f32], sets: &[&str]) -> Vec<u8> {
    emulate("encode", &[("x", &f32(&[x.len()], x))], sets)["code"].codes().to_vec()
}

#[test]
fn what_is_too_large_saturates_or_not() {
    let x = [464.0, 464.1, -1e9, f32::INFINITY, -f32::NAN, 61_439.9, 61_440.0];
    let cases: [(&[&str], [u8; 7]); 6] = [
        (&[], [0x7E, 0x7E, 0xFE, 0x7E, 0x7F, 0x7E, 0x7E]),
        (&["overflow=nonsaturate"], [0x7E, 0x7F, 0xFF, 0x7F, 0x7F, 0x7F, 0x7F]),
        (&["format=e5m2"], [0x5F, 0x5F, 0xFB, 0x7B, 0x7F, 0x7B, 0x7B]),
        (&["format=e5m2", "overflow=nonsaturate"], [0x5F, 0x5F, 0xFC, 0x7C, 0x7F, 0x7B, 0x7C]),
        (&["format=e4m3fnuz"], [0x7F, 0x7F, 0xFF, 0x7F, 0x80, 0x7F, 0x7F]),
        (&["format=e5m2fnuz", "overflow=nonsaturate"], [0x63, 0x63, 0x80, 0x80, 0x80, 0x7F, 0x80]),
    ];
    for (sets, codes) in cases {
        assert_eq!(encode(&x, sets), codes, "{sets:?}");
    }
}

#[test]
fn ties_go_to_even_and_underflow_keeps_its_sign() {
    // 1.0625 and 1.1875 lie between codes of E4M3, 2^-10 between its smallest and zero.
    let x = [1.0625, 1.1875, 2f32.powi(-10), -(2f32.powi(-10)), 2f32.powi(-10) * 1.001];
    assert_eq!(encode(&x, &[]), [0x38, 0x3A, 0x00, 0x80, 0x01]);
    assert_eq!(encode(&[-0.0, -1e-9], &["format=e4m3fnuz"]), [0, 0]);
}

#[test]
fn powers_of_two_round_up_or_to_zero() {
    let x =
        [0.0, 2f32.powi(-127), 2f32.powi(-127) * 1.5, 1.0, -1.5, f32::MAX, f32::INFINITY, f32::NAN];
    let cases: [(&[&str], [u8; 8]); 3] = [
        (&[], [0, 0, 1, 127, 128, 0xFE, 0xFE, 0xFF]),
        (&["rounding=zero"], [0, 0, 0, 127, 127, 0xFE, 0xFE, 0xFF]),
        (&["overflow=nonsaturate"], [0, 0, 1, 127, 128, 0xFF, 0xFF, 0xFF]),
    ];
    for (sets, codes) in cases {
        let sets = [&["format=e8m0"], sets].concat();
        assert_eq!(encode(&x, &sets), codes, "{sets:?}");
    }
}

#[test]
fn stochastic_rounding_takes_the_words_of_its_seed() {
    let x: Vec<f32> = noise(1).take(1001).map(f32::from_bits).collect();
    for seed in [0, 5, 1 << 40] {
        let words = StochasticStream { seed, tensor: 0, draw: 0 }.words(0);
        let code = |(x, word)| E4M3::from_f32_stochastic(x, word, Overflow::NonSaturate).to_bits();
        let expected: Vec<u8> = x.iter().copied().zip(words).map(code).collect();
        let seed = format!("seed={seed}");
        let sets = ["rounding=stochastic", "overflow=nonsaturate", &seed];
        assert_eq!(encode(&x, &sets), expected, "{sets:?}");
    }
}

#[test]
fn every_code_decodes_to_its_value() {
    let codes: Vec<u8> = (0..=255).collect();
    let tensor = u8(&[2, 2, 2, 2, 16], &codes);
    let check = |format: &str, value: fn(u8) -> f32| {
        let set = format!("format={format}");
        let x = &emulate("decode", &[("code", &tensor)], &[&set])["x"];
        assert_eq!(x.shape, tensor.shape);
        for (code, x) in codes.iter().zip(x.f32()) {
            let expected = value(*code);
            assert_eq!(x.to_bits(), expected.to_bits(), "{format} {code:#x}: {x}, not {expected}");
        }
    };
    check("e4m3", |code| E4M3::from_bits(code).to_f32());
    check("e5m2", |code| E5M2::from_bits(code).to_f32());
    check("e4m3fnuz", |code| Fp8::<layout::E4M3Fnuz>::from_bits(code).to_f32());
    check("e5m2fnuz", |code| Fp8::<layout::E5M2Fnuz>::from_bits(code).to_f32());
    check("e8m0", |code| E8M0::from_bits(code).to_f32());
}

#[test]
fn nan_has_one_pattern_of_bits() {
    let codes = u8(&[4], &[0x7F, 0xFF, 0xC0, 0x01]);
    let x = emulate("decode", &[("code", &codes)], &[])["x"].f32();
    let bits: Vec<u32> = x.into_iter().map(f32::to_bits).collect();
    assert_eq!(bits, [0x7FFF_FFFF, 0x7FFF_FFFF, (-2f32).to_bits(), 2f32.powi(-9).to_bits()]);
}

#[test]
fn any_shape_is_kept() {
    for shape in [&[][..], &[0], &[3, 0, 2], &[1, 2, 1, 3, 1, 1]] {
        let elements = shape.iter().product();
        let x: Vec<f32> = noise(2).take(elements).map(|word| word as f32 * 1e-7).collect();
        let code = &emulate("encode", &[("x", &f32(shape, &x))], &[])["code"];
        let expected: Vec<u8> = x.iter().map(|x| E4M3::from_f32_saturating(*x).to_bits()).collect();
        assert_eq!(code, &u8(shape, &expected));
    }
}

#[test]
fn machines_change_no_bit() {
    let x: Vec<f32> = noise(3).take(5000).map(f32::from_bits).collect();
    let files = Files::new();
    files.save(&[("x", &f32(&[5000], &x))]);
    let code = |x: &f32| E5M2::from_f32_nonsaturating(*x).to_bits();
    let expected: Stored = u8(&[5000], &x.iter().map(code).collect::<Vec<_>>());
    for machine in machines() {
        let mut call = files.call("encode", &["format=e5m2", "overflow=nonsaturate"]);
        assert_eq!(files.result(call.args(&machine))["code"], expected, "{machine:?}");
    }
}
