//! Per-tensor quantisation, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Queue, Tensor};
use fp8lm_ops::{self as ops, ScaleRule};
use support::{
    TEST, assert_bits, assert_bytes, largest, normal, queue, queues, rounded_bytes, scale_of,
    stored, tensor, values, wild,
};

const LENGTHS: [usize; 7] = [1, 7, 512, 513, 8_192, 8_193, 40_001];
const FORMATS: [(DType, f32); 2] = [(DType::E4M3, 448.0), (DType::E5M2, 57_344.0)];

/// Ordinary values, some of them zero, or values of any bits.
fn inputs(n: usize) -> [Vec<f32>; 2] {
    let ordinary = normal(n as u64, n).into_iter().map(|x| if x.abs() < 0.1 { 0.0 } else { x });
    [ordinary.collect(), wild(n as u64, n)]
}

fn scalar(queue: &Queue, value: f32) -> Tensor {
    queue.upload(&[value], 1, TEST).unwrap()
}

fn only(queue: &Queue, tensor: &Tensor) -> f32 {
    queue.download::<f32>(tensor).unwrap()[0]
}

#[test]
fn amax_counts_nan_as_infinite() {
    for (device, queue) in queues() {
        for dtype in [DType::F32, DType::BF16] {
            for n in LENGTHS {
                for x in inputs(n) {
                    let got = scalar(&queue, f32::NAN);
                    ops::amax(&queue, &tensor(&queue, dtype, &x, n), &got).unwrap();
                    let want = [largest(&stored(dtype, &x))];
                    assert_bits(
                        &format!("{device}: {dtype}, {n}"),
                        &[only(&queue, &got)],
                        &want,
                        1,
                    );
                }
            }
        }
    }
}

#[test]
fn scale_follows_its_rule() {
    let queue = queue();
    let (s, inv) = (scalar(&queue, 0.0), scalar(&queue, 0.0));
    let mut amaxes = vec![0.0, f32::NAN, f32::INFINITY, f32::MAX, 1e-45, 1e-36, 448.0, 447.99997];
    amaxes.extend(wild(1, 2_000).iter().map(|x| x.abs()));
    for rule in [ScaleRule::None, ScaleRule::Exact, ScaleRule::Pow2] {
        for (index, amax) in amaxes.iter().enumerate() {
            for (fp_max, head) in [(448.0, 1.0), (57_344.0, 0.125), (65_504.0, 1.7)] {
                let all = queue.upload(&[0.0, *amax, 0.0], 3, TEST).unwrap();
                let head_of = scalar(&queue, head);
                ops::scale_from_amax(&queue, &all, &head_of, fp_max, rule, &s, &inv).unwrap();
                let want = (head * scale_of(rule, *amax, fp_max)).min(f32::MAX);
                let name = format!("{rule:?}, amax {amax:e} ({index}), {fp_max}");
                let got = [only(&queue, &s), only(&queue, &inv)];
                assert_bits(&name, &got, &[want, 1.0 / want], 2);
            }
        }
    }
}

#[test]
fn scale_takes_the_largest_amax() {
    let queue = queue();
    let (s, inv) = (scalar(&queue, 0.0), scalar(&queue, 0.0));
    for (amaxes, want) in [([1.0, 7.0, 3.0], 64.0), ([1.0, f32::NAN, 3.0], 1.0)] {
        let amaxes = queue.upload(&amaxes, 3, TEST).unwrap();
        let one = scalar(&queue, 1.0);
        ops::scale_from_amax(&queue, &amaxes, &one, 448.0, ScaleRule::Exact, &s, &inv).unwrap();
        assert_eq!(only(&queue, &s), want);
    }
}

#[test]
fn history_is_a_ring() {
    let queue = queue();
    let (amax, history) = (scalar(&queue, 0.0), tensor(&queue, DType::F32, &[0.0; 3], 3));
    let count = queue.upload(&[0u32], 1, TEST).unwrap();
    for (step, value) in [1.0, f32::INFINITY, 3.0, 4.0, f32::NAN].into_iter().enumerate() {
        queue.write(&[value], &amax).unwrap();
        ops::push_amax(&queue, &amax, &history, &count).unwrap();
        assert_eq!(only(&queue, &amax), 0.0);
        assert_eq!(queue.download::<u32>(&count).unwrap(), [step as u32 + 1]);
    }
    assert_eq!(queue.download::<f32>(&history).unwrap(), [4.0, 0.0, 3.0]);
}

#[test]
fn a_tensor_has_no_scale_for_groups() {
    let queue = queue();
    let (one, s, inv) = (scalar(&queue, 1.0), scalar(&queue, 0.0), scalar(&queue, 0.0));
    let refused = ops::scale_from_amax(&queue, &one, &one, 448.0, ScaleRule::Expand, &s, &inv);
    assert!(matches!(refused, Err(Error::Argument { name: "rule", .. })), "{refused:?}");
}

#[test]
fn quantize_rounds_and_counts() {
    for (device, queue) in queues() {
        for (format, fp_max) in FORMATS {
            for dtype in [DType::F32, DType::BF16] {
                for (n, scale) in
                    LENGTHS.into_iter().zip([1.0, 300.0, 0.01, 2e4, 1e-3, 448.0, 64.0])
                {
                    for x in inputs(n) {
                        let name = format!("{device}: {dtype} to {format}, {n}");
                        let result =
                            Quantized::of(&queue, &tensor(&queue, dtype, &x, n), scale, format);
                        result.check(&name, &stored(dtype, &x), scale, fp_max);
                    }
                }
            }
        }
    }
}

/// What a quantisation wrote; amax starts at 2 and the counts at 10 and 20.
struct Quantized {
    format: DType,
    codes: Vec<u8>,
    codes_t: Option<Vec<u8>>,
    amax: f32,
    counts: Vec<u64>,
}

impl Quantized {
    fn of(queue: &Queue, x: &Tensor, scale: f32, format: DType) -> Self {
        let (scale, amax) = (scalar(queue, scale), scalar(queue, 2.0));
        let counts = queue.upload(&[10u64, 20], 2, TEST).unwrap();
        let code = queue.alloc(format, x.shape(), TEST).unwrap();
        let code_t = queue.alloc(format, [x.cols(), x.rows()], TEST).unwrap();
        let transposed = x.rows() > 1;
        if transposed {
            ops::quantize_transpose(queue, x, &scale, &code, &code_t, &amax, &counts).unwrap();
        } else {
            ops::quantize(queue, x, &scale, &code, &amax, &counts).unwrap();
        }
        Self {
            format,
            codes: queue.download_bytes(&code).unwrap(),
            codes_t: transposed.then(|| queue.download_bytes(&code_t).unwrap()),
            amax: only(queue, &amax),
            counts: queue.download(&counts).unwrap(),
        }
    }

    fn check(&self, name: &str, x: &[f32], scale: f32, fp_max: f32) {
        let scaled: Vec<f32> = x.iter().map(|x| x * scale).collect();
        let codes = rounded_bytes(self.format, &scaled);
        let over = scaled.iter().filter(|x| x.abs() > fp_max).count() as u64;
        let vanished = |(x, code): &(&f32, &u8)| **x != 0.0 && **code & 0x7F == 0;
        let under = x.iter().zip(&codes).filter(vanished).count() as u64;
        assert_bytes(name, &self.codes, &codes);
        assert_bits(&format!("{name}, amax"), &[self.amax], &[largest(x).max(2.0)], 1);
        assert_eq!(self.counts, [10 + over, 20 + under], "{name}: saturated, vanished");
    }
}

#[test]
fn quantize_transpose_writes_the_same_codes_twice() {
    for (device, queue) in queues() {
        for (format, fp_max) in FORMATS {
            for (rows, cols) in [(2, 1), (8, 8), (67, 130), (300, 65)] {
                for x in inputs(rows * cols) {
                    let name = format!("{device}: {format} [{rows}, {cols}]");
                    let tensor = tensor(&queue, DType::BF16, &x, [rows, cols]);
                    let result = Quantized::of(&queue, &tensor, 100.0, format);
                    result.check(&name, &stored(DType::BF16, &x), 100.0, fp_max);
                    let place = |i: usize| (i % rows) * cols + i / rows;
                    let want: Vec<u8> = (0..rows * cols).map(|i| result.codes[place(i)]).collect();
                    assert_bytes(&name, result.codes_t.as_ref().unwrap(), &want);
                }
            }
        }
    }
}

#[test]
fn dequantize_rounds_the_product_and_then_the_type() {
    let states = [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];
    for (device, queue) in queues() {
        for format in states {
            for (n, inverse) in LENGTHS.into_iter().zip([1.0, 3e-3, 0.7, 1e-40, 1e30, 0.1, 1.7]) {
                let bytes = rounded_bytes(format, &inputs(n)[n % 2]);
                let code = queue.alloc(format, n, TEST).unwrap();
                queue.write_bytes(&bytes, &code).unwrap();
                for dtype in [DType::F32, DType::BF16] {
                    let y = queue.alloc(dtype, n, TEST).unwrap();
                    ops::dequantize(&queue, &code, &scalar(&queue, inverse), &y).unwrap();
                    let decoded = support::widened(format, &bytes);
                    let want: Vec<f32> =
                        decoded.iter().map(|x| support::round(dtype, x * inverse)).collect();
                    let name = format!("{device}: {format} to {dtype}, {n}");
                    assert_bits(&name, &values(&queue, &y), &want, n);
                }
            }
        }
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let queue = queue();
    let x = queue.alloc(DType::F32, [4, 6], TEST).unwrap();
    let [code, code_t] = [(); 2].map(|()| queue.alloc(DType::E4M3, [4, 6], TEST).unwrap());
    let (one, amax) = (scalar(&queue, 1.0), scalar(&queue, 0.0));
    let counts = queue.upload(&[0u64; 2], 2, TEST).unwrap();
    let refused = ops::quantize_transpose(&queue, &x, &one, &code, &code_t, &amax, &counts);
    assert!(matches!(refused, Err(Error::Shape { tensor: "code_t", .. })), "{refused:?}");
    let refused = ops::quantize(&queue, &x, &one, &code, &amax, &one);
    assert!(matches!(refused, Err(Error::Shape { tensor: "counts", .. })), "{refused:?}");
}
