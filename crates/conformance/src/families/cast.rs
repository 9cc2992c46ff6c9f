//! Fills, conversions without a scale, transpositions, sums of two tensors.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F16, F32, F64, U8, U32, U64},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [0, 1, 7, 15, 16, 17, 4099] {
        cases.extend(FILLED.into_iter().flat_map(|dtype| fills(dtype, n)));
    }
    for values in Values::ALL {
        cases.extend([0, 1, 7, 8, 9, 2051].into_iter().flat_map(|n| casts(values, n)));
        cases.extend([0, 1, 8, 2051].into_iter().flat_map(|n| sums(values, n)));
        for (rows, cols) in
            [(0, 5), (5, 0), (1, 1), (3, 70), (64, 64), (65, 63), (72, 200), (200, 7)]
        {
            cases.extend(WORDS.map(|dtype| transpose(values, dtype, rows, cols)));
        }
    }
    cases.extend(malformed());
    cases
}

const STATES: [DType; 5] = [F32, BF16, F16, E4M3, E5M2];
const FILLED: [DType; 8] = [F32, BF16, F16, E4M3, E5M2, F64, U32, U64];
const WORDS: [DType; 6] = [F32, BF16, F16, E4M3, E5M2, U8];

/// Counters refuse what is no count.
fn fills(dtype: DType, n: usize) -> Vec<Case> {
    let values =
        [0.0, -0.0, 1.0, 448.5, 1e-3, 3e9, 5e9, -1e30, 2e19, f32::INFINITY, f32::NAN, -f32::NAN];
    values.map(|value| fill(dtype, n, value)).into()
}

fn fill(dtype: DType, n: usize, value: f32) -> Case {
    Case::new("fill", format!("{n} of {dtype} with {value:e}")).write(dtype, n).f32(value)
}

fn casts(values: Values, n: usize) -> Vec<Case> {
    let case = |from, to| {
        let case = Case::new("cast", format!("{values}, {n} from {from} to {to}"));
        case.read(values.data(from, n, 1)).write(to, n)
    };
    STATES.into_iter().flat_map(|from| STATES.map(|to| case(from, to))).collect()
}

fn sums(values: Values, n: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for a in [F32, BF16] {
        for b in [F32, BF16] {
            for y in [F32, BF16] {
                let case = Case::new("add", format!("{values}, {n} of {a} and {b} to {y}"));
                let case = case.read(values.data(a, n, 2)).read(Values::Special.data(b, n, 3));
                cases.push(case.write(y, n));
            }
        }
    }
    cases
}

fn transpose(values: Values, dtype: DType, rows: usize, cols: usize) -> Case {
    let n = rows * cols;
    let bytes = (0..n).map(|i| (i * 37 + i / 256) as u8).collect();
    let x = if dtype == U8 { Data { dtype, bytes } } else { values.data(dtype, n, 4) };
    let case = Case::new("transpose", format!("{values}, {rows} x {cols} {dtype}"));
    case.read(x).write(dtype, n).u32(rows).u32(cols)
}

/// What both must refuse.
fn malformed() -> Vec<Case> {
    let cast = || casts(Values::Ordinary, 9).swap_remove(0);
    let sum = || sums(Values::Ordinary, 9).swap_remove(0);
    let turn = || transpose(Values::Ordinary, BF16, 3, 4);
    let mut cases = vec![fill(U32, 3, 1.5), fill(U64, 3, f32::NAN), fill(U32, 0, 4_294_967_296.0)];
    cases.extend([0, 1].map(|index| cast().resized(index, 3)));
    cases.extend([0, 1, 2].map(|index| sum().resized(index, 3)));
    cases.extend([0, 1].map(|index| turn().resized(index, 3)));
    let two = Case::new("transpose", "two types").read(Data::of(&[1f32])).write(BF16, 1);
    cases.push(two.u32(1).u32(1));
    cases
}
