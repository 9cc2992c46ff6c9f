//! Accumulation of gradients and automatic scaling, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error};
use fp8lm_ops::{self as ops, Saturation};
use support::{TEST, assert_bits, normal, queue, queues, rounded_bytes, stored, tensor, wild};

const LENGTHS: [usize; 5] = [1, 7, 513, 8_193, 20_000];

#[test]
fn accumulation_rounds_once() {
    for (device, queue) in queues() {
        for dtype in [DType::F32, DType::BF16] {
            for n in LENGTHS {
                for (x, y) in [(normal(1, n), normal(2, n)), (wild(3, n), wild(4, n))] {
                    let sum = tensor(&queue, DType::F32, &y, n);
                    ops::accumulate(&queue, &tensor(&queue, dtype, &x, n), &sum).unwrap();
                    let terms = stored(dtype, &x).into_iter().zip(&y);
                    let want: Vec<f32> =
                        terms.map(|(x, y)| support::round(DType::F32, y + x)).collect();
                    let name = format!("{device}: {dtype}, {n}");
                    assert_bits(&name, &queue.download::<f32>(&sum).unwrap(), &want, n);
                }
            }
        }
    }
}

#[test]
fn codes_are_scaled_before_they_are_added() {
    for (device, queue) in queues() {
        for format in [DType::E4M3, DType::E5M2] {
            for (n, inverse) in LENGTHS.into_iter().zip([1.0, 0.7, 1e-40, 1e30, 0.1]) {
                let (bytes, y) = (rounded_bytes(format, &wild(5, n)), normal(6, n));
                let code = queue.alloc(format, n, TEST).unwrap();
                queue.write_bytes(&bytes, &code).unwrap();
                let scale_inv = queue.upload(&[inverse], 1, TEST).unwrap();
                let sum = tensor(&queue, DType::F32, &y, n);
                ops::accumulate_dequantized(&queue, &code, &scale_inv, &sum).unwrap();
                let terms = support::widened(format, &bytes).into_iter().zip(&y);
                let want: Vec<f32> =
                    terms.map(|(x, y)| support::round(DType::F32, y + x * inverse)).collect();
                let name = format!("{device}: {format}, {n}");
                assert_bits(&name, &queue.download::<f32>(&sum).unwrap(), &want, n);
            }
        }
    }
}

#[test]
fn mu_halves_on_overflow_and_grows_otherwise() {
    let growth = 2f64.powf(0.001) as f32;
    let (low, high) = (1.0 / 65_536.0, 65_536.0);
    let cases = [
        (0, 1_000_000, 1.0, growth),
        (10, 1_000_000, 1.0, growth),
        (11, 1_000_000, 1.0, 0.5),
        (1, 99_999, 3.0, 1.5),
        (1, 100_000, 3.0, 3.0 * growth),
        (0, 1_000, high, high),
        (9, 1_000, low, low),
        (u64::MAX, u64::MAX, 1.0, 0.5),
    ];
    let queue = queue();
    for (overflows, elements, mu, want) in cases {
        for skip in [0u32, 1] {
            let counts = queue.upload(&[overflows, 77], 2, TEST).unwrap();
            let skip_flag = queue.upload(&[skip], 1, TEST).unwrap();
            let got = tensor(&queue, DType::F32, &[mu], 1);
            let none = queue.upload(&[0u64], 1, TEST).unwrap();
            let saturation = Saturation { counts: &counts, largest: &none, elements, casts: 1 };
            ops::auto_scale(&queue, &saturation, &skip_flag, &got).unwrap();
            let name = format!("{overflows} of {elements}, skip {skip}");
            let want = if skip == 0 { want } else { mu };
            assert_bits(&name, &queue.download::<f32>(&got).unwrap(), &[want], 1);
        }
    }
}

#[test]
fn shapes_must_agree() {
    let queue = queue();
    let x = queue.alloc(DType::BF16, [2, 3], TEST).unwrap();
    let y = queue.alloc(DType::F32, [3, 2], TEST).unwrap();
    assert!(matches!(ops::accumulate(&queue, &x, &y), Err(Error::Shape { tensor: "y", .. })));
}
