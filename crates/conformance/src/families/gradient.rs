//! Accumulation of gradients, and automatic scaling at its bounds.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for n in [0, 1, 7, 8, 2051] {
            for dtype in [F32, BF16] {
                let case = Case::new("accumulate", format!("{values}, {n} from {dtype}"));
                cases.push(case.read(values.data(dtype, n, 1)).update(values.data(F32, n, 2)));
            }
            for dtype in [E4M3, E5M2] {
                cases.push(dequantized(values, dtype, n));
            }
        }
    }
    cases.extend(scales());
    cases.extend(malformed());
    cases
}

fn dequantized(values: Values, dtype: DType, n: usize) -> Case {
    let case = Case::new("accumulate_dequantized", format!("{values}, {n} from {dtype}"));
    let case = case.read(values.data(dtype, n, 3)).read(Data::of(&[0.37f32]));
    case.update(values.data(F32, n, 4))
}

fn scales() -> Vec<Case> {
    let mut cases = Vec::new();
    for mu in [1.0, 3.3, 65_536.0, 65_535.0, 1.0 / 65_536.0, 0.0, -1.0, f32::INFINITY, f32::NAN] {
        for (overflows, elements) in [
            (0, 0),
            (1, 0),
            (1, 99_999),
            (1, 100_000),
            (2, 199_999),
            (u64::MAX, u64::MAX),
            (u64::MAX / 100_000, u64::MAX),
            (u64::MAX / 100_000 + 1, u64::MAX),
        ] {
            for skip in [0, 1, u32::MAX] {
                for [count, largest, ranks] in
                    [[overflows, 0, 1], [0, overflows, 1], [0, overflows, 3], [0, overflows, 0]]
                {
                    let about =
                        format!("mu {mu}, {count}, {largest} x {ranks} of {elements}, skip {skip}");
                    let case = Case::new("auto_scale", about).read(Data::of(&[count, 77]));
                    let case = case.read(Data::of(&[largest])).read(Data::of(&[skip]));
                    cases.push(case.update(Data::of(&[mu])).u64(elements).u64(ranks));
                }
            }
        }
    }
    cases
}

fn malformed() -> Vec<Case> {
    let data = |dtype, n| Values::Ordinary.data(dtype, n, 5);
    let scale = |counts, largest, skip, mu| {
        let case = Case::new("auto_scale", format!("lengths {counts}, {largest}, {skip}, {mu}"));
        let case = case.read(Data::of(&vec![1u64; counts])).read(Data::of(&vec![1u64; largest]));
        case.read(Data::of(&vec![0u32; skip])).update(data(F32, mu)).u64(1).u64(1)
    };
    let dequantized = |about: &str, factors, n| {
        let case = Case::new("accumulate_dequantized", about).read(data(E5M2, n));
        case.read(data(F32, factors)).update(data(F32, 9))
    };
    vec![
        Case::new("accumulate", "shorter").read(data(BF16, 8)).update(data(F32, 9)),
        Case::new("accumulate", "longer").read(data(F32, 10)).update(data(F32, 9)),
        dequantized("shorter", 1, 8),
        dequantized("two factors", 2, 9),
        scale(1, 1, 1, 1),
        scale(2, 2, 1, 1),
        scale(2, 1, 2, 1),
        scale(2, 1, 1, 0),
    ]
}
