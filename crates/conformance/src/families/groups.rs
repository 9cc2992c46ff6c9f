//! Quantisation in groups whose range is expanded.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for n in [0, 1, 7, 127, 128, 129, 2049] {
            for code in [E4M3, E5M2] {
                for float in [F32, BF16] {
                    cases.push(quantize(format!("{values}, {n}"), values.data(float, n, 1), code));
                    cases.push(dequantize(values, n, code, float));
                }
            }
        }
    }
    cases.extend(spans());
    cases.extend(malformed());
    cases
}

fn quantize(about: String, x: Data, code: DType) -> Case {
    let n = x.bytes.len() / x.dtype.bytes();
    let case = Case::new("quantize_groups", format!("{about} from {} to {code}", x.dtype));
    case.read(x).write(code, n).write(F32, 2 * n.div_ceil(128))
}

/// Under magnitudes and exponents of any kind.
fn dequantize(values: Values, n: usize, code: DType, y: DType) -> Case {
    let case = Case::new("dequantize_groups", format!("{values}, {n} from {code} to {y}"));
    let case = case.read(Values::Wide.data(code, n, 2));
    case.read(values.data(F32, 2 * n.div_ceil(128), 3)).write(y, n)
}

/// Groups of one magnitude, of two near by, and of two as far apart as f32 has them.
fn spans() -> Vec<Case> {
    let pairs =
        [(1.0, 1.0), (1.0, 1.000_000_1), (1.0, 1.01), (1e-45, 3e38), (1e-45, 1e-45), (0.0, 2.0)];
    let case = |((a, b), code): ((f32, f32), DType)| {
        let x: Vec<f32> = (0..300).map(|i| if i % 3 == 0 { a } else { -b }).collect();
        quantize(format!("{a:e} and {b:e}"), Data::of(&x), code)
    };
    pairs.into_iter().flat_map(|pair| [(pair, E4M3), (pair, E5M2)]).map(case).collect()
}

/// What both must refuse.
fn malformed() -> Vec<Case> {
    let forth = || quantize("9".into(), Values::Ordinary.data(F32, 9, 1), E4M3);
    let back = || dequantize(Values::Ordinary, 9, E5M2, BF16);
    let resized =
        (0..3).flat_map(|index| [forth().resized(index, 300), back().resized(index, 300)]);
    resized.collect()
}
