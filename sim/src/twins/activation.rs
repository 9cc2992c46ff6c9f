//! Activation functions of the feed-forward network.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    elementwise,
    math::{exp, tanh},
    workers::{RowsOf, Workers, grain},
};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("gelu", gelu),
    ("gelu_backward", gelu_backward),
    ("swiglu", swiglu),
    ("swiglu_backward", swiglu_backward),
];

fn gelu(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(0);
    let (x, y) = (args.states(0, n)?, args.states_mut(1, n)?);
    elementwise::map(workers, n, x, y, gelu_of);
    Ok(())
}

fn gelu_backward(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let n = args.elements(0);
    let (dy, x, dx) = (args.states(0, n)?, args.states(1, n)?, args.states_mut(2, n)?);
    elementwise::zip(
        workers,
        n,
        (dy, x),
        dx,
        #[inline(always)]
        |dy, x| dy * gelu_slope(x),
    );
    Ok(())
}

fn swiglu(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(2), args.extent(3));
    let x = args.floats(0, 2 * rows * cols)?;
    let y = RowsOf { values: args.floats_mut(1, rows * cols)?, width: cols };
    workers.rows(
        rows,
        grain(cols),
        y,
        #[inline(always)]
        |range, mut y| {
            let (mut gate, mut up) = (workers.scratch(cols), workers.scratch(cols));
            for (i, r) in range.enumerate() {
                x.load(2 * r * cols, &mut gate);
                x.load((2 * r + 1) * cols, &mut up);
                gate.iter_mut().zip(&*up).for_each(|(gate, up)| *gate = silu(*gate) * up);
                y.values.store(i * cols, &gate);
            }
        },
    );
    Ok(())
}

fn swiglu_backward(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(3), args.extent(4));
    let (dy, x) = (args.floats(0, rows * cols)?, args.floats(1, 2 * rows * cols)?);
    let dx = RowsOf { values: args.floats_mut(2, 2 * rows * cols)?, width: 2 * cols };
    workers.rows(
        rows,
        grain(cols),
        dx,
        #[inline(always)]
        |range, mut dx| {
            let (mut gradient, mut gate, mut up) =
                (workers.scratch(cols), workers.scratch(cols), workers.scratch(cols));
            for (i, r) in range.enumerate() {
                dy.load(r * cols, &mut gradient);
                x.load(2 * r * cols, &mut gate);
                x.load((2 * r + 1) * cols, &mut up);
                for (dy, (gate, up)) in gradient.iter().zip(gate.iter_mut().zip(&mut *up)) {
                    (*gate, *up) = swiglu_gradients(*dy, *gate, *up);
                }
                dx.values.store(2 * i * cols, &gate);
                dx.values.store((2 * i + 1) * cols, &up);
            }
        },
    );
    Ok(())
}

#[inline(always)]
fn gelu_of(x: f32) -> f32 {
    0.5 * x * (1.0 + tanh(inner(x)))
}

/// The derivative of [`gelu_of`].
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    let t = tanh(inner(x));
    let inner_slope = ROOT_2_OVER_PI * (1.0 + CUBIC_SLOPE * (x * x));
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner_slope
}

/// sqrt(2 / pi) (x + 0.044715 x^3).
#[inline(always)]
fn inner(x: f32) -> f32 {
    ROOT_2_OVER_PI * x * (1.0 + CUBIC * (x * x))
}

#[inline(always)]
fn silu(gate: f32) -> f32 {
    gate / (1.0 + exp(-gate))
}

/// The gradients with respect to gate and up.
#[inline(always)]
fn swiglu_gradients(dy: f32, gate: f32, up: f32) -> (f32, f32) {
    let divisor = 1.0 + exp(-gate);
    let (sigmoid, silu) = (1.0 / divisor, gate / divisor);
    let slope = sigmoid + silu * (1.0 - sigmoid);
    (dy * up * slope, dy * silu)
}

/// sqrt(2 / pi) rounded to f32.
const ROOT_2_OVER_PI: f32 = f32::from_bits(0x3F4C_422A);
const CUBIC: f32 = 0.044_715;
/// 3 * 0.044715 rounded to f32.
const CUBIC_SLOPE: f32 = 0.134_145;
