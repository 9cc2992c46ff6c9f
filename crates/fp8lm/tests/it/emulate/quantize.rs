//! `quantize`.

use fp8lm_formats::E4M3;

use super::{Stored, emulate, f32, noise, u8};

#[test]
fn a_tensor_has_one_scale() {
    let x = f32(&[2, 2], &[7.0, -3.0, 0.1, 0.0]);
    // 448 / 7 is 64; 0.1 * 64 is 6.4, which lies between 6 and 6.5.
    let cases: [(&[&str], f32, [u8; 4]); 3] = [
        (&[], 64.0, [0x7E, 0xF4, 0x4D, 0x00]),
        (&["granularity=tensor", "scale=pow2"], 64.0, [0x7E, 0xF4, 0x4D, 0x00]),
        // 57,344 / 7 is 8,192; -3 * 8,192 = -1.5 * 2^14; 819.2 lies between 768 and 896.
        (&["format=e5m2", "scale=exact"], 8192.0, [0x7B, 0xF6, 0x62, 0x00]),
    ];
    for (sets, scale, codes) in cases {
        let outputs = emulate("quantize", &[("x", &x)], sets);
        assert_eq!(outputs["scale"], f32(&[1], &[scale]), "{sets:?}");
        assert_eq!((outputs["code"].codes(), &*outputs["code"].shape), (&codes[..], &[2, 2][..]));
        assert_eq!(outputs.len(), 2);
    }
}

#[test]
fn rules_of_scales_part_between_powers_of_two() {
    let x = f32(&[1, 2], &[3.0, 1.0]);
    let scale = |set: &str| emulate("quantize", &[("x", &x)], &[set])["scale"].f32()[0];
    assert_eq!(scale("scale=exact"), 448.0 / 3.0);
    assert_eq!(scale("scale=pow2"), 128.0);
}

#[test]
fn what_is_not_finite_leaves_the_scale_at_one() {
    for (x, code) in [(f32::NAN, 0x7F), (f32::NEG_INFINITY, 0xFE)] {
        let outputs = emulate("quantize", &[("x", &f32(&[1, 2], &[x, 2.0]))], &[]);
        assert_eq!(outputs["scale"].f32(), [1.0]);
        assert_eq!(outputs["code"].codes(), [code, 0x40]);
    }
}

#[test]
fn nothing_has_a_scale_too() {
    let outputs = emulate("quantize", &[("x", &f32(&[0, 3], &[]))], &[]);
    assert_eq!(outputs["scale"].f32(), [1.0]);
    assert_eq!(outputs["code"].shape, [0, 3]);
}

/// A row of c elements, all 0 but the first.
fn row(first: f32, c: usize) -> Stored {
    let mut x = vec![0.0; c];
    x[0] = first;
    f32(&[1, c], &x)
}

#[test]
fn a_tile_has_its_own_scale() {
    let tile =
        |scale: &str| emulate("quantize", &[("x", &row(3.0, 129))], &["granularity=tile", scale]);
    let outputs = tile("scale=exact");
    assert_eq!(outputs["scale_inv"], f32(&[1, 2], &[3.0 / 448.0, 1e-4 / 448.0]));
    assert_eq!(outputs["code"].codes()[..2], [0x7E, 0x00]);
    assert_eq!(outputs.len(), 2);
    // 3 / 448 lies between 2^-8 and 2^-7, 1e-4 / 448 between 2^-23 and 2^-22; 3 * 2^7 is 384.
    let outputs = tile("scale=ue8m0");
    assert_eq!(outputs["scale_inv"], f32(&[1, 2], &[2f32.powi(-7), 2f32.powi(-22)]));
    assert_eq!(outputs["scale_code"], u8(&[1, 2], &[120, 105]));
    assert_eq!(outputs["code"].codes()[..2], [0x7C, 0x00]);
    assert_eq!(outputs.len(), 3);
}

#[test]
fn a_block_is_128_rows_of_128() {
    let mut x = vec![0.0; 129 * 130];
    (x[0], x[128], x[128 * 130], x[129 * 130 - 1]) = (448.0, 224.0, 112.0, 56.0);
    let sets = ["granularity=block"];
    let outputs = emulate("quantize", &[("x", &f32(&[129, 130], &x))], &sets);
    assert_eq!(outputs["scale_inv"], f32(&[2, 2], &[1.0, 0.5, 0.25, 0.125]));
    let codes = outputs["code"].codes();
    assert_eq!([codes[0], codes[128], codes[128 * 130], codes[129 * 130 - 1]], [0x7E; 4]);
}

#[test]
fn mx_has_two_rules() {
    let mx = |scale: &str| emulate("quantize", &[("x", &row(1.9, 33))], &["granularity=mx", scale]);
    // 1.9 * 2^8 is 486 and saturates. 0 has the smallest scale.
    let outputs = mx("scale=ocp");
    assert_eq!(outputs["scale_code"], u8(&[1, 2], &[127 - 8, 1]));
    assert_eq!(outputs["code"].codes()[0], 0x7E);
    // 1.9 / 448 lies between 2^-8 and 2^-7; 1.9 * 2^7 is 243.2, and the code next to it 240.
    let outputs = mx("scale=up");
    assert_eq!(outputs["scale_code"], u8(&[1, 2], &[127 - 7, 1]));
    assert_eq!(outputs["code"].codes()[0], 0x77);
    assert_eq!(outputs.len(), 2);
}

#[test]
fn a_reciprocal_may_change_a_code() {
    // In each tile its largest, and values whose quotients are ties, or next to one.
    let tile = |amax: u32| {
        let scale_inv = amax as f32 / 448.0;
        (0..128u8).map(move |i| if i == 0 { amax as f32 } else { f32::from(i | 1) * scale_inv })
    };
    let x: Vec<f32> = noise(1).take(64).flat_map(tile).collect();
    let tensor = f32(&[64, 128], &x);
    let codes = |divide: bool| {
        let mut codes = Vec::new();
        for tile in x.chunks(128) {
            let amax = tile.iter().fold(0f32, |amax, x| amax.max(x.abs()));
            let scale_inv = amax / 448.0;
            let scaled = |x: &f32| if divide { x / scale_inv } else { x * (1.0 / scale_inv) };
            codes.extend(tile.iter().map(|x| E4M3::from_f32_saturating(scaled(x)).to_bits()));
        }
        codes
    };
    for divide in [true, false] {
        let sets = ["granularity=tile", &format!("divide={divide}")];
        let outputs = emulate("quantize", &[("x", &tensor)], &sets);
        assert!(outputs["code"].codes() == codes(divide), "divide={divide}");
    }
    assert!(codes(true) != codes(false), "no code tells a division from a reciprocal");
}

#[test]
fn blocks_of_nothing_have_no_scales() {
    let sets: [(&[&str], &str); 3] = [
        (&["granularity=tile"], "scale_inv"),
        (&["granularity=block", "scale=ue8m0"], "scale_code"),
        (&["granularity=mx"], "scale_code"),
    ];
    for (sets, scales) in sets {
        let outputs = emulate("quantize", &[("x", &f32(&[3, 0], &[]))], sets);
        assert_eq!(outputs["code"].shape, [3, 0]);
        assert!(outputs[scales].bytes.is_empty(), "{sets:?}");
    }
}
