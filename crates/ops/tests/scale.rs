//! Values stored under a scale that is given.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Label, Queue};
use fp8lm_formats::E4M3;
use fp8lm_ops as ops;
use half::f16;
use support::{normal, queues};

const N: usize = 1000;
const SCALE: f32 = 96.0;

fn scaled(queue: &Queue, dtype: DType, x: &[f32]) -> Vec<u8> {
    let x = queue.upload(x, x.len(), Label("x")).unwrap();
    let scale = queue.upload(&[SCALE], 1, Label("scale")).unwrap();
    let y = queue.alloc(dtype, x.elements(), Label("y")).unwrap();
    ops::scale_into(queue, &x, &scale, &y).unwrap();
    queue.download_bytes(&y).unwrap()
}

#[test]
fn one_product_is_rounded_once_to_the_type() {
    let x = normal(1, N);
    for (name, queue) in queues() {
        let f16s = scaled(&queue, DType::F16, &x);
        let e4m3s = scaled(&queue, DType::E4M3, &x);
        for (i, x) in x.iter().enumerate() {
            let expected = f16::from_f32(x * SCALE).to_le_bytes();
            assert_eq!(f16s[2 * i..2 * i + 2], expected, "{name}, f16, element {i}, x = {x}");
            let expected = E4M3::from_f32_saturating(x * SCALE).to_bits();
            assert_eq!(e4m3s[i], expected, "{name}, e4m3, element {i}, x = {x}");
        }
    }
}

#[test]
fn reciprocals_are_ieee_quotients() {
    let x = [3.0f32, -0.5, 0.0, f32::INFINITY, 1e-40, 7e30];
    for (name, queue) in queues() {
        let x_device = queue.upload(&x, x.len(), Label("x")).unwrap();
        let y = queue.alloc(DType::F32, x.len(), Label("y")).unwrap();
        ops::reciprocal(&queue, &x_device, &y).unwrap();
        let y = queue.download::<f32>(&y).unwrap();
        for (x, y) in x.iter().zip(y) {
            assert_eq!(y.to_bits(), (1.0 / x).to_bits(), "{name}, 1 / {x}");
        }
    }
}
