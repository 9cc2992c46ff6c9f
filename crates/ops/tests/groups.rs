//! Quantisation in groups against its definition, bit by bit, and against plain scales.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Queue};
use fp8lm_ops as ops;
use support::{
    DRAWS, TEST, TYPES, assert_bits, assert_bytes, contracted, expanded, largest, normal, queue,
    queues, round, rounded_bytes, stored, tensor, values, widened,
};

const FORMATS: [DType; 2] = [DType::E4M3, DType::E5M2];

/// Codes and scale of `x`, and what they stand for in `dtype`.
fn round_trip(
    queue: &Queue,
    dtype: DType,
    format: DType,
    x: &[f32],
) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
    let n = x.len();
    let x = tensor(queue, dtype, x, n);
    let code = queue.alloc(format, n, TEST).unwrap();
    let scale = queue.alloc(DType::F32, [n.div_ceil(128), 2], TEST).unwrap();
    let y = queue.alloc(dtype, n, TEST).unwrap();
    ops::quantize_groups(queue, &x, &code, &scale).unwrap();
    ops::dequantize_groups(queue, &code, &scale, &y).unwrap();
    let codes = queue.download_bytes(&code).unwrap();
    (codes, queue.download(&scale).unwrap(), values(queue, &y))
}

/// Holds a round trip on every device against the definition.
fn check(name: &str, x: &[f32]) {
    for (device, queue) in queues() {
        for dtype in TYPES {
            for format in FORMATS {
                let name = format!("{name}, {device}: {dtype} to {format}");
                let (codes, scale, y) = round_trip(&queue, dtype, format, x);
                let (want_codes, want_scale) = expanded(format, &stored(dtype, x));
                assert_bits(&format!("{name}, scale"), &scale, &want_scale, want_scale.len());
                assert_bytes(&format!("{name}, codes"), &codes, &want_codes);
                let want = contracted(format, &codes, &scale);
                let want: Vec<f32> = want.into_iter().map(|y| round(dtype, y)).collect();
                assert_bits(&format!("{name}, y"), &y, &want, want.len());
            }
        }
    }
}

#[test]
fn every_length_follows_the_definition() {
    for n in [1, 127, 128, 129, 513, 8_193, 20_000] {
        for (index, draw) in DRAWS.iter().enumerate() {
            check(&format!("draw {index} of {n}"), &draw(n as u64, n));
        }
    }
}

#[test]
fn every_kind_of_group_follows_the_definition() {
    let first = |value: f32| {
        let mut group = [0.0; 128];
        group[0] = value;
        group
    };
    let second = |values: [f32; 2]| {
        let mut group = [-0.0; 128];
        group[126..].copy_from_slice(&values);
        group
    };
    let groups = [
        ("zeros", [0.0; 128]),
        ("negative zeros", [-0.0; 128]),
        ("one value", [-3.7; 128]),
        ("one that is not 0", first(1e-30)),
        ("the smallest", first(f32::from_bits(1))),
        ("the largest", [f32::MAX; 128]),
        ("neighbours", second([1.0, 1.000_000_1])),
        ("half a format", second([-1.0, 1e-3])),
        ("a format", second([448.0, 1.0 / 512.0])),
        ("everything", second([f32::from_bits(1), f32::MAX])),
        ("subnormal", second([f32::from_bits(1), f32::from_bits(999)])),
        ("infinite", second([f32::NEG_INFINITY, 5.3])),
        ("NaN", second([f32::NAN, 5.3])),
    ];
    for (name, group) in &groups {
        check(name, group);
    }
    let all: Vec<f32> = groups.iter().flat_map(|(_, group)| *group).collect();
    check("all", &all[..all.len() - 100]);
}

#[test]
fn the_range_of_a_group_becomes_that_of_the_format() {
    let queue = queue();
    for (smallest, largest, exponent) in
        [(1.0, 10.0, 5.25), (1e-9, 1e-3, 0.875), (1.0, 2e30, 0.125)]
    {
        let name = format!("{smallest:e} to {largest:e}");
        let (codes, scale, y) =
            round_trip(&queue, DType::F32, DType::E4M3, &[smallest, -largest, 0.0]);
        assert_eq!(scale, [largest, exponent], "{name}");
        assert_eq!(y[1..], [-largest, 0.0], "{name}");
        // Cut to eighths, the exponent leaves less than 1/8 of the range's logarithm unused; then
        // comes a rounding: half a step of E4M3's subnormals, or 1/16 of a larger value.
        let ratio = f64::from(largest) / f64::from(smallest);
        let bound = ratio.powf(0.125) / 512.0 * (1.0 + 1.0 / 16.0) + 1.0 / 1024.0;
        let code = widened(DType::E4M3, &codes)[0];
        assert!((1.0 / 512.0..=bound).contains(&code.into()), "{name}: {code:e}, bound {bound:e}");
    }
}

/// The mean over relative errors, and how many values vanished.
fn loss(x: &[f32], y: &[f32]) -> (f64, usize) {
    let error = |(x, y): (&f32, &f32)| f64::from((x - y).abs()) / f64::from(x.abs());
    let vanished = y.iter().filter(|y| **y == 0.0).count();
    (x.iter().zip(y).map(error).sum::<f64>() / x.len() as f64, vanished)
}

/// `x` in E4M3 under one exact scale.
fn plain(x: &[f32]) -> Vec<f32> {
    let scale = 448.0 / largest(x);
    let scaled: Vec<f32> = x.iter().map(|x| x * scale).collect();
    let codes = rounded_bytes(DType::E4M3, &scaled);
    widened(DType::E4M3, &codes).into_iter().map(|x| x / scale).collect()
}

#[test]
fn second_moments_lose_less_than_under_plain_scales() {
    let queue = queue();
    // A power k > 1 divides relative errors by k: a narrow group gains. One of k < 1 multiplies
    // them, but plain scales then turn the values beyond E4M3's five decades into 0, an error of 1.
    for decades in [0.25f32, 0.5, 1.0, 2.0, 4.0] {
        let exponents = normal(decades.to_bits().into(), 8_192);
        let v: Vec<f32> = exponents.iter().map(|x| 10f32.powf(x * decades - 8.0)).collect();
        let (_, _, y) = round_trip(&queue, DType::F32, DType::E4M3, &v);
        let (error, vanished) = loss(&v, &y);
        let by_group: Vec<f32> = v.chunks(128).flat_map(plain).collect();
        for (name, plain) in [("groups", by_group), ("the tensor", plain(&v))] {
            let (bound, _) = loss(&v, &plain);
            assert!(error < bound, "{decades} decades: {error} is not below {bound} of {name}");
        }
        assert_eq!(vanished, 0, "{decades} decades");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let queue = queue();
    let x = tensor(&queue, DType::F32, &[1.0; 129], 129);
    let code = queue.alloc(DType::E4M3, 129, TEST).unwrap();
    let scale = queue.alloc(DType::F32, [1, 2], TEST).unwrap();
    let refused = ops::quantize_groups(&queue, &x, &code, &scale);
    assert!(matches!(refused, Err(Error::Shape { tensor: "scale", .. })), "{refused:?}");
    let refused = ops::dequantize_groups(&queue, &code, &scale, &x);
    assert!(matches!(refused, Err(Error::Shape { tensor: "scale", .. })), "{refused:?}");
}
