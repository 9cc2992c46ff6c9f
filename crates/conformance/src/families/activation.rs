//! Activation functions.

use fp8lm_device::{
    DType,
    DType::{BF16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for [x, dy, out] in TYPES {
            for n in [0, 1, 7, 8, 2051] {
                let about = format!("{values}, {n}, {x} and {dy} to {out}");
                let x = values.data(x, n, 1);
                cases.push(Case::new("gelu", about.clone()).read(x.clone()).write(out, n));
                let case = Case::new("gelu_backward", about).read(values.data(dy, n, 2));
                cases.push(case.read(x).write(out, n));
            }
            for (rows, cols) in [(0, 3), (2, 0), (1, 1), (5, 8), (3, 17), (31, 67), (2, 1030)] {
                cases.extend(swiglu(values, [x, dy, out], rows, cols));
            }
        }
    }
    cases.extend(malformed());
    cases.extend(dense());
    cases
}

/// Of x, of dy and of what is written.
const TYPES: [[DType; 3]; 5] =
    [[F32, F32, F32], [BF16, BF16, BF16], [F32, BF16, F32], [BF16, F32, F32], [BF16, F32, BF16]];

fn swiglu(values: Values, [x, dy, out]: [DType; 3], rows: usize, cols: usize) -> [Case; 2] {
    let about = format!("{values}, {rows} x {cols}, {x} and {dy} to {out}");
    let (n, x) = (rows * cols, values.data(x, 2 * rows * cols, 3));
    let forward = Case::new("swiglu", about.clone()).read(x.clone()).write(out, n);
    let backward = Case::new("swiglu_backward", about).read(values.data(dy, n, 4)).read(x);
    [forward.u32(rows).u32(cols), backward.write(out, 2 * n).u32(rows).u32(cols)]
}

/// One number in every 61,409 of f32: every way through exp and tanh.
fn dense() -> Vec<Case> {
    let some = (0..=u32::MAX).step_by(61_409).map(f32::from_bits).collect::<Vec<_>>();
    let n = some.len() / 2 * 2;
    let some = Data::of(&some[..n]);
    let ones = Data::of(&vec![1f32; n]);
    let of = |kernel| Case::new(kernel, "numbers of every exponent");
    vec![
        of("gelu").read(some.clone()).write(F32, n),
        of("gelu_backward").read(ones.clone()).read(some.clone()).write(F32, n),
        of("swiglu").read(some.clone()).write(F32, n / 2).u32(1).u32(n / 2),
        of("swiglu_backward")
            .read(ones)
            .read(some)
            .write(F32, n)
            .u32(1)
            .u32(n / 2)
            .resized(0, n / 2),
    ]
}

/// Launches of wrong lengths.
fn malformed() -> Vec<Case> {
    let numbers = |n| Values::Ordinary.data(F32, n, 5);
    let of = |kernel, index, elements| {
        Case::new(kernel, format!("{elements} elements as argument {index}"))
    };
    let mut cases = Vec::new();
    for (index, elements) in [(0, 5), (1, 0), (1, 7), (2, 5), (2, 13)] {
        if index < 2 {
            let gelu = of("gelu", index, elements).read(numbers(6)).write(F32, 6);
            let swiglu = of("swiglu", index, elements).read(numbers(12)).write(F32, 6);
            cases.push(gelu.resized(index, elements));
            cases.push(swiglu.u32(2).u32(3).resized(index, elements));
        }
        let gelu = of("gelu_backward", index, elements).read(numbers(6)).read(numbers(6));
        let swiglu = of("swiglu_backward", index, elements).read(numbers(6)).read(numbers(12));
        cases.push(gelu.write(F32, 6).resized(index, elements));
        cases.push(swiglu.write(F32, 12).u32(2).u32(3).resized(index, elements));
    }
    cases
}
