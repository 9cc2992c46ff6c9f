//! GELU and SwiGLU: bits against the specification, gradients against finite differences.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::DType;
use fp8lm_ops as ops;
use fp8lm_sim::math::{exp, tanh};
use support::{
    DRAWS, TYPES, assert_bits, assert_close, differences, normal, queue, queues, round, stored,
    tensor, values,
};

const SHAPES: [[usize; 2]; 4] = [[1, 1], [3, 7], [1, 1025], [40, 300]];
/// One rounding, relative.
const U: f64 = 1.0 / (1u64 << 24) as f64;

#[test]
fn activations_have_the_bits_of_the_specification() {
    let queues = queues();
    for (shape, dtype) in SHAPES.iter().flat_map(|shape| TYPES.map(|dtype| (*shape, dtype))) {
        for draw in DRAWS {
            let [rows, cols] = shape;
            let (n, wide) = (rows * cols, [rows, 2 * cols]);
            let (dy, x) = (stored(dtype, &draw(1, n)), stored(dtype, &draw(2, 2 * n)));
            let written = |y: Vec<f32>| y.iter().map(|y| round(dtype, *y)).collect::<Vec<_>>();
            let y = written(x.iter().map(|x| gelu(*x)).collect());
            let dx =
                written(x.iter().zip(dy.repeat(2)).map(|(x, dy)| dy * gelu_slope(*x)).collect());
            let (up, dup) = swiglu(&dy, &x, cols);
            let (up, dup) = (written(up), written(dup));
            for (device, queue) in &queues {
                let name = |kernel| format!("{kernel} {dtype} {shape:?} on {device}, at ");
                let dy2 = tensor(queue, dtype, &dy.repeat(2), wide);
                let (dy, x) = (tensor(queue, dtype, &dy, shape), tensor(queue, dtype, &x, wide));
                let got = |result| values(queue, &result);
                let result = got(ops::gelu(queue, &x).unwrap());
                assert_bits(&name("gelu"), &result, &y, wide);
                let result = got(ops::gelu_backward(queue, &dy2, &x).unwrap());
                assert_bits(&name("gelu_backward"), &result, &dx, wide);
                let result = got(ops::swiglu(queue, &x).unwrap());
                assert_bits(&name("swiglu"), &result, &up, shape);
                let result = got(ops::swiglu_backward(queue, &dy, &x).unwrap());
                assert_bits(&name("swiglu_backward"), &result, &dup, wide);
            }
        }
    }
}

fn inner(x: f32) -> f32 {
    let square = x * x;
    let cubic = 1.0 + f32::from_bits(0x3D37_2713) * square;
    (f32::from_bits(0x3F4C_422A) * x) * cubic
}

fn gelu(x: f32) -> f32 {
    let t = tanh(inner(x));
    (0.5 * x) * (1.0 + t)
}

fn gelu_slope(x: f32) -> f32 {
    let t = tanh(inner(x));
    let inner_slope = f32::from_bits(0x3F4C_422A) * (1.0 + f32::from_bits(0x3E09_5D4F) * (x * x));
    let left = 0.5 * (1.0 + t);
    let right = ((0.5 * x) * (1.0 - t * t)) * inner_slope;
    left + right
}

/// Result and gradient.
fn swiglu(dy: &[f32], x: &[f32], cols: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    for (i, dy) in dy.iter().enumerate() {
        let gate_at = i / cols * 2 * cols + i % cols;
        let up_at = gate_at + cols;
        let divisor = 1.0 + exp(-x[gate_at]);
        let silu = x[gate_at] / divisor;
        let sigmoid = 1.0 / divisor;
        let rest = 1.0 - sigmoid;
        let slope = sigmoid + silu * rest;
        y[i] = silu * x[up_at];
        dx[gate_at] = (dy * x[up_at]) * slope;
        dx[up_at] = dy * silu;
    }
    (y, dx)
}

/// The bounds, for abs(x) <= 2 sqrt(3), in units of U: `inner` has seven roundings, and
/// abs(v) / cosh^2 v < 0.45, so tanh of it is off by 3.2 + 4.9 (2.42 ulp of its own) < 9. Then
/// 0.5 (1 + t) is off by 6; 1 - t^2 by 20, times abs(0.5 x inner_slope) < 3.7 makes 74; four more
/// roundings of a product below 0.7 and one of a sum below 1.2 make 4: below 90 for a dy of 1.
/// Central differences of step 1e-5 add less than 1e-8.
#[test]
fn the_gradient_of_gelu_is_that_of_the_formula() {
    let (x, dy) = (normal(1, 200), normal(2, 200));
    let queue = queue();
    let tensor = |x: &[f32]| tensor(&queue, DType::F32, x, 200);
    let got = values(&queue, &ops::gelu_backward(&queue, &tensor(&dy), &tensor(&x)).unwrap());
    let gelu = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        0.5 * x * (1.0 + inner.tanh())
    };
    let loss = |x: &[f64]| x.iter().zip(&dy).map(|(x, dy)| gelu(*x) * f64::from(*dy)).sum();
    let want = differences(&wide(&x), loss);
    assert_close("dx", &got, &want, |i| 90.0 * U * f64::from(dy[i]).abs() + 1e-8, 200);
}

/// The bounds, in units of U: exp is off by 2 (0.87 ulp), so the divisor by 3, sigmoid and silu by
/// 4 each, the slope's terms by 4 and by 4 + 4 + 1 + 1 of abs(silu), their sum by one more; with
/// two more roundings dgate is off by less than 13 of its absolute terms, dup by 5.
#[test]
fn the_gradient_of_swiglu_is_that_of_the_formula() {
    let (rows, cols) = (4, 25);
    let (x, dy) = (normal(1, 2 * rows * cols), normal(2, rows * cols));
    let queue = queue();
    let dy_on = tensor(&queue, DType::F32, &dy, [rows, cols]);
    let x_on = tensor(&queue, DType::F32, &x, [rows, 2 * cols]);
    let got = values(&queue, &ops::swiglu_backward(&queue, &dy_on, &x_on).unwrap());
    let gate_at = |i: usize| i / cols * 2 * cols + i % cols;
    let sigmoid = |g: f64| 1.0 / (1.0 + (-g).exp());
    let loss = |x: &[f64]| {
        let silu = |i: usize| x[gate_at(i)] * sigmoid(x[gate_at(i)]);
        (0..dy.len()).map(|i| f64::from(dy[i]) * silu(i) * x[gate_at(i) + cols]).sum()
    };
    let want = differences(&wide(&x), loss);
    let x = wide(&x);
    let mut bound = vec![0.0; x.len()];
    for (i, dy) in dy.iter().enumerate() {
        let (gate, up, dy) = (x[gate_at(i)], x[gate_at(i) + cols], f64::from(*dy));
        let terms = sigmoid(gate) + (gate * sigmoid(gate)).abs();
        bound[gate_at(i)] = 13.0 * U * (dy * up).abs() * terms + 1e-8;
        bound[gate_at(i) + cols] = 5.0 * U * (dy * gate).abs() * sigmoid(gate) + 1e-8;
    }
    assert_close("dx", &got, &want, |i| bound[i], [rows, 2 * cols]);
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let queue = queue();
    let x = |shape: [usize; 2]| tensor(&queue, DType::F32, &vec![1.0; shape[0] * shape[1]], shape);
    let error = ops::swiglu(&queue, &x([2, 3])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "swiglu: `x` must be a matrix of an even number of columns, and it is f32[2, 3]"
    );
    assert!(ops::swiglu_backward(&queue, &x([2, 4]), &x([2, 4])).is_err());
    assert!(ops::gelu_backward(&queue, &x([2, 4]), &x([4, 2])).is_err());
}
