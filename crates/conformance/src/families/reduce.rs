//! Canonical sums around the lengths where lanes and chunks end, and the clipping of norms.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F16, F32, U32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for n in [0, 1, 127, 128, 129, 1000, 65_535, 65_536, 65_537] {
            cases.extend(sums(values, n));
        }
        cases.extend(clips(values));
    }
    cases.extend(sums(Values::Ordinary, 200_001));
    // More chunks than lanes.
    let n = 131 * 65_536 + 7;
    cases.push(sum_squares(Values::Ordinary, BF16, n));
    // As many sums as tensors of up to 2^34 elements have chunks.
    let sums: Vec<f32> = (0..200_001).map(|i| (i % 97) as f32 * 0.37).collect();
    let case = Case::new("clip", "200001 sums").read(Data::of(&sums)).read(Data::of::<f32>(&[]));
    cases.push(outputs(case, [1, 1, 1], 1.0));
    cases.extend(malformed());
    cases
}

fn sums(values: Values, n: usize) -> Vec<Case> {
    let sum = Case::new("sum", format!("{values}, {n}")).read(values.data(F32, n, 1)).write(F32, 1);
    let squares = [F32, BF16].map(|dtype| sum_squares(values, dtype, n));
    let dequantized = [E4M3, E5M2, F32, F16].map(|dtype| {
        let case = Case::new("sum_squares_dequantized", format!("{values}, {n} from {dtype}"));
        case.read(values.data(dtype, n, 2)).read(Data::of(&[0.037f32])).write(F32, 1)
    });
    [sum].into_iter().chain(squares).chain(dequantized).collect()
}

fn sum_squares(values: Values, dtype: DType, n: usize) -> Case {
    let case = Case::new("sum_squares", format!("{values}, {n} from {dtype}"));
    case.read(values.data(dtype, n, 3)).write(F32, 1)
}

fn clips(values: Values) -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [0, 1, 129, 300] {
        for (amaxes, about) in [(0, 0.0), (1, 2.5), (200, f32::INFINITY), (130, f32::NAN)] {
            for max_norm in [0.0, 1.0, 1e30, f32::NAN] {
                let about_case =
                    format!("{values}, {n} sums, {amaxes} amaxes, the last {about}, to {max_norm}");
                let mut amax = vec![1.0f32; amaxes];
                amax.iter_mut().last().into_iter().for_each(|last| *last = about);
                let case = Case::new("clip", about_case).read(values.data(F32, n, 4));
                cases.push(outputs(case.read(Data::of(&amax)), [1, 1, 1], max_norm));
            }
        }
        // Sums of squares are not negative.
        let positive = Data::of(&vec![3.25f32; n]);
        let case = Case::new("clip", format!("{n} equal sums")).read(positive);
        cases.push(outputs(case.read(values.data(F32, 5, 5)), [1, 1, 1], 2.0));
    }
    cases
}

fn outputs(case: Case, [norm, factor, skip]: [usize; 3], max_norm: f32) -> Case {
    case.write(F32, norm).write(F32, factor).write(U32, skip).f32(max_norm)
}

fn malformed() -> Vec<Case> {
    let data = |dtype, n| Values::Ordinary.data(dtype, n, 6);
    let clip = || Case::new("clip", "malformed").read(data(F32, 3)).read(data(F32, 3));
    let dequantized = || Case::new("sum_squares_dequantized", "malformed").read(data(E4M3, 3));
    vec![
        Case::new("sum", "two results").read(data(F32, 3)).write(F32, 2),
        Case::new("sum", "from BF16").read(data(BF16, 3)).write(F32, 1),
        Case::new("sum_squares", "no result").read(data(BF16, 3)).write(F32, 0),
        dequantized().read(data(F32, 2)).write(F32, 1),
        dequantized().read(data(F32, 1)).write(F32, 2),
        outputs(clip(), [2, 1, 1], 1.0),
        outputs(clip(), [1, 0, 1], 1.0),
        outputs(clip(), [1, 1, 2], 1.0),
    ]
}
