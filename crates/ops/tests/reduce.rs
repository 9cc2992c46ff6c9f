//! Canonical reductions, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Queue, Tensor};
use fp8lm_ops as ops;
use support::{TEST, assert_bits, normal, queue, queues, rounded_bytes, stored, tensor, wild};

const LENGTHS: [usize; 8] = [1, 7, 127, 129, 4_096, 65_536, 65_537, 200_001];

/// Values of different sizes, so that another order would show.
fn uneven(n: usize) -> Vec<f32> {
    normal(n as u64, n).iter().enumerate().map(|(i, x)| x * (1 + i % 1_000) as f32).collect()
}

/// The canonical sum, as its definition says it.
fn canonical_sum(x: &[f32]) -> f32 {
    if x.len() > 65_536 {
        return canonical_sum(&x.chunks(65_536).map(canonical_sum).collect::<Vec<_>>());
    }
    let mut lanes = [0.0; 128];
    x.iter().enumerate().for_each(|(i, x)| lanes[i % 128] += x);
    for w in [64, 32, 16, 8, 4, 2, 1] {
        (0..w).for_each(|l| lanes[l] += lanes[l + w]);
    }
    support::round(DType::F32, lanes[0])
}

/// The sums land in the middle of three slots; the others must stay as they are.
fn with_slots(queue: &Queue, run: impl Fn(&Tensor)) -> f32 {
    let slots = queue.upload(&[1.0f32, 2.0, 3.0], 3, TEST).unwrap();
    run(&slots.element(1));
    let slots = queue.download::<f32>(&slots).unwrap();
    assert_eq!([slots[0], slots[2]], [1.0, 3.0]);
    slots[1]
}

#[test]
fn sums_go_by_lanes_and_chunks() {
    for (device, queue) in queues() {
        for n in LENGTHS {
            for x in [uneven(n), wild(1, n), vec![-0.0; n]] {
                let tensor = tensor(&queue, DType::F32, &x, n);
                let got = with_slots(&queue, |y| ops::sum(&queue, &tensor, y).unwrap());
                assert_bits(&format!("{device}: {n}"), &[got], &[canonical_sum(&x)], 1);
            }
        }
    }
}

#[test]
fn squares_are_rounded_before_they_are_summed() {
    for (device, queue) in queues() {
        for dtype in [DType::F32, DType::BF16] {
            for n in LENGTHS {
                for x in [uneven(n), wild(2, n)] {
                    let tensor = tensor(&queue, dtype, &x, n);
                    let got = with_slots(&queue, |y| ops::sum_squares(&queue, &tensor, y).unwrap());
                    let squares: Vec<f32> = stored(dtype, &x).iter().map(|x| x * x).collect();
                    let want = canonical_sum(&squares);
                    assert_bits(&format!("{device}: {dtype}, {n}"), &[got], &[want], 1);
                }
            }
        }
    }
}

#[test]
fn codes_are_scaled_squared_and_summed() {
    for (device, queue) in queues() {
        for format in [DType::E4M3, DType::E5M2] {
            for (n, inverse) in
                LENGTHS.into_iter().zip([1.0, 0.7, 1e-3, 1e20, 3.0, 1e-30, 0.1, 0.3])
            {
                let bytes = rounded_bytes(format, &uneven(n));
                let code = queue.alloc(format, n, TEST).unwrap();
                queue.write_bytes(&bytes, &code).unwrap();
                let scale_inv = queue.upload(&[inverse], 1, TEST).unwrap();
                let got = with_slots(&queue, |y| {
                    ops::sum_squares_dequantized(&queue, &code, &scale_inv, y).unwrap();
                });
                let values = support::widened(format, &bytes);
                let square = |x: &f32| (x * inverse) * (x * inverse);
                let want = canonical_sum(&values.iter().map(square).collect::<Vec<_>>());
                assert_bits(&format!("{device}: {format}, {n}"), &[got], &[want], 1);
            }
        }
    }
}

#[test]
fn clip_divides_skips_or_leaves_alone() {
    // Sums, amaxes and the limit; then norm, factor and skip.
    type Case = (&'static [f32], &'static [f32], f32, f32, f32, u32);
    let cases: [Case; 8] = [
        (&[9.0, 16.0], &[1.0], 1.0, 5.0, 0.2, 0),
        (&[9.0, 16.0], &[1.0], 5.0, 5.0, 1.0, 0),
        (&[0.0], &[0.0], 1.0, 0.0, 1.0, 0),
        (&[9.0, 16.0], &[1.0, f32::INFINITY], 1.0, 5.0, 1.0, 1),
        (&[9.0, 16.0], &[f32::NAN, 1.0], 1.0, 5.0, 1.0, 1),
        (&[9.0, f32::INFINITY], &[1.0], 1.0, f32::INFINITY, 1.0, 1),
        (&[9.0, f32::NAN], &[1.0], 1.0, f32::from_bits(0x7FFF_FFFF), 1.0, 1),
        (&[9.0, 16.0], &[1.0], f32::INFINITY, 5.0, 1.0, 0),
    ];
    let queue = queue();
    let [norm, factor] = [(); 2].map(|()| queue.alloc(DType::F32, 1, TEST).unwrap());
    let skip = queue.alloc(DType::U32, 1, TEST).unwrap();
    for (index, (sums, amaxes, max_norm, want_norm, want_factor, want_skip)) in
        cases.into_iter().enumerate()
    {
        let sums = queue.upload(sums, sums.len(), TEST).unwrap();
        let amaxes = queue.upload(amaxes, amaxes.len(), TEST).unwrap();
        ops::clip(&queue, &sums, &amaxes, &norm, &factor, &skip, max_norm).unwrap();
        let got = [&norm, &factor].map(|x| queue.download::<f32>(x).unwrap()[0]);
        assert_bits(&format!("case {index}"), &got, &[want_norm, want_factor], 2);
        assert_eq!(queue.download::<u32>(&skip).unwrap(), [want_skip], "case {index}");
    }
}

#[test]
fn a_sum_is_one_element() {
    let queue = queue();
    let x = queue.alloc(DType::F32, 4, TEST).unwrap();
    let y = queue.alloc(DType::F32, 2, TEST).unwrap();
    assert!(matches!(ops::sum(&queue, &x, &y), Err(Error::Shape { tensor: "y", .. })));
}
