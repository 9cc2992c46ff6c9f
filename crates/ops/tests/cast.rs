//! Fills, casts, transpositions and sums, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Queue, Tensor};
use fp8lm_ops as ops;
use half::f16;
use support::{
    TEST, assert_bits, assert_bytes, normal, queue, queues, rounded_bytes, tensor, wild, words,
};

const STATES: [DType; 5] = [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];

#[test]
fn fill_rounds_once() {
    let queue = queue();
    for dtype in STATES {
        for value in [0.0, -0.0, 1.0, 0.1, -449.0, 1e6, 1e-9, f32::INFINITY, f32::NAN] {
            let y = queue.alloc(dtype, [3, 5], TEST).unwrap();
            ops::fill(&queue, &y, value).unwrap();
            let got = queue.download_bytes(&y).unwrap();
            assert_bytes(&format!("{dtype} {value}"), &got, &rounded_bytes(dtype, &[value; 15]));
        }
    }
}

#[test]
fn fill_takes_whole_counts_alone() {
    let queue = queue();
    let small = queue.alloc(DType::U32, 3, TEST).unwrap();
    let large = queue.alloc(DType::U64, 3, TEST).unwrap();
    let double = queue.alloc(DType::F64, 3, TEST).unwrap();
    ops::fill(&queue, &small, 7.0).unwrap();
    ops::fill(&queue, &large, (1u64 << 40) as f32).unwrap();
    ops::fill(&queue, &double, 0.1).unwrap();
    assert_eq!(queue.download::<u32>(&small).unwrap(), [7; 3]);
    assert_eq!(queue.download::<u64>(&large).unwrap(), [1 << 40; 3]);
    assert_eq!(queue.download::<f64>(&double).unwrap(), [f64::from(0.1f32); 3]);
    for value in [0.5, -1.0, f32::NAN, f32::INFINITY, u32::MAX as f32] {
        let error = ops::fill(&queue, &small, value).unwrap_err();
        assert!(matches!(error, Error::Argument { index: 1, .. }), "{value}: {error}");
    }
    // Rounds to 2^64, one more than the largest count.
    assert!(ops::fill(&queue, &large, u64::MAX as f32).is_err());
}

#[test]
fn cast_rounds_once_from_and_to_every_state() {
    let mut values = wild(3, 40_000);
    values.extend(normal(4, 1_001));
    values.extend([448.0, 464.0, 464.1, 61_439.9, 61_440.0, 65_519.9, 65_520.0, -0.0, 1e-45]);
    for (device, queue) in queues() {
        for from in STATES {
            let x = upload(&queue, from, &values);
            let seen = widened(&queue, &x);
            for to in STATES {
                let y = ops::cast(&queue, &x, to).unwrap();
                let got = queue.download_bytes(&y).unwrap();
                assert_bytes(&format!("{device}: {from} to {to}"), &got, &rounded_bytes(to, &seen));
            }
        }
    }
}

/// `values` in the format, rounded on the host.
fn upload(queue: &Queue, dtype: DType, values: &[f32]) -> Tensor {
    let x = queue.alloc(dtype, values.len(), TEST).unwrap();
    queue.write_bytes(&rounded_bytes(dtype, values), &x).unwrap();
    x
}

/// The elements of a tensor of any state, widened on the host.
fn widened(queue: &Queue, x: &Tensor) -> Vec<f32> {
    support::widened(x.dtype(), &queue.download_bytes(x).unwrap())
}

#[test]
fn cast_refuses_another_shape() {
    let queue = queue();
    let x = queue.alloc(DType::F32, [2, 3], TEST).unwrap();
    let y = queue.alloc(DType::F16, [3, 2], TEST).unwrap();
    assert!(matches!(ops::cast_into(&queue, &x, &y), Err(Error::Shape { .. })));
}

#[test]
fn transpose_moves_every_element() {
    let types = [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2, DType::U8];
    for (device, queue) in queues() {
        for dtype in types {
            for (rows, cols) in [(1, 1), (1, 9), (9, 1), (8, 8), (64, 64), (130, 67), (67, 200)] {
                let size = dtype.bytes();
                let bytes: Vec<u8> = words(5, rows * cols * size).map(|word| word as u8).collect();
                let x = queue.alloc(dtype, [rows, cols], TEST).unwrap();
                queue.write_bytes(&bytes, &x).unwrap();
                let y = ops::transpose(&queue, &x).unwrap();
                assert_eq!(y.shape(), [cols, rows].into());
                let place = |i: usize| ((i % rows) * cols + i / rows) * size;
                let want: Vec<u8> =
                    (0..rows * cols).flat_map(|i| bytes[place(i)..][..size].to_vec()).collect();
                let name = format!("{device}: {dtype} [{rows}, {cols}]");
                assert_bytes(&name, &queue.download_bytes(&y).unwrap(), &want);
            }
        }
    }
}

#[test]
fn add_rounds_once() {
    for (device, queue) in queues() {
        for dtype in [DType::F32, DType::BF16] {
            for n in [1, 7, 511, 513, 20_000] {
                let (a, b) = (wild(6, n), wild(7, n));
                let (x, y) = (tensor(&queue, dtype, &a, n), tensor(&queue, dtype, &b, n));
                let got = support::values(&queue, &ops::add(&queue, &x, &y).unwrap());
                let (a, b) = (support::stored(dtype, &a), support::stored(dtype, &b));
                let want: Vec<f32> =
                    a.iter().zip(&b).map(|(a, b)| support::round(dtype, a + b)).collect();
                assert_bits(&format!("{device}: {dtype}, {n}"), &got, &want, n);
            }
        }
    }
}

#[test]
fn halves_widen_exactly() {
    let queue = queue();
    let bits: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let x = queue.upload(&bits, 65_536, TEST).unwrap();
    let got = queue.download::<f32>(&ops::cast(&queue, &x, DType::F32).unwrap()).unwrap();
    let want: Vec<f32> =
        bits.iter().map(|x| support::round(DType::F32, f64::from(*x) as f32)).collect();
    assert_bits("f16", &got, &want, 65_536);
}
