//! Cross-entropy, alone and by the steps of a group: ragged rows, targets within and beyond, rows without a finite
//! maximum.

use fp8lm_device::{
    DType,
    DType::{BF16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for cols in [0, 1, 7, 129, 1000] {
            for types in [[F32, F32], [F32, BF16], [BF16, F32], [BF16, BF16]] {
                let logits = values.data(types[0], 3 * cols, 1);
                cases.push(case(format!("{values}"), logits, 3, types[1]));
            }
        }
    }
    for cols in [8191, 8193, 65_536, 70_003] {
        for dtype in [F32, BF16] {
            cases.push(case("long".into(), Values::Ordinary.data(dtype, cols, 2), 1, dtype));
        }
    }
    cases.push(case("no rows".into(), Data::of::<f32>(&[]), 0, F32));
    cases.extend(extremes());
    cases.extend(malformed());
    cases.extend(shared());
    cases
}

/// A launch over `rows` rows of logits, with a target in the middle, at the end, and beyond.
fn case(about: String, logits: Data, rows: usize, to: DType) -> Case {
    let cols = (logits.bytes.len() / logits.dtype.bytes()).checked_div(rows).unwrap_or(4);
    let about = format!("{about}, {rows} x {cols} from {} to {to}", logits.dtype);
    let targets = [cols / 2, cols.saturating_sub(1), cols].map(|target| target as u32);
    let case = Case::new("cross_entropy", about).read(logits).read(Data::of(&targets[..rows]));
    case.write(F32, rows).write(to, rows * cols).u32(rows).u32(cols).f32(0.125)
}

/// Infinities and NaN in the first row, alone and all along.
fn extremes() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0] {
        for count in [1, 11] {
            let mut logits = [0.5f32, -1.0, 3.0].repeat(11);
            logits[..count].fill(value);
            cases.push(case(format!("{count} times {value}"), Data::of(&logits), 3, BF16));
        }
    }
    cases
}

fn malformed() -> Vec<Case> {
    let lengths = [[5, 2, 2, 6], [6, 1, 2, 6], [6, 2, 3, 6], [6, 2, 2, 7]];
    let case = |[logits, targets, loss, dlogits]: [usize; 4]| {
        let case =
            Case::new("cross_entropy", format!("lengths {logits} {targets} {loss} {dlogits}"));
        let case =
            case.read(Values::Ordinary.data(F32, logits, 3)).read(Data::of(&vec![1u32; targets]));
        case.write(F32, loss).write(F32, dlogits).u32(2).u32(3).f32(1.0)
    };
    lengths.map(case).into()
}

/// The steps of a group: columns from 1000 on of a vocabulary that has three more, with targets before, among and
/// behind them, and beyond all.
fn shared() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for cols in [0, 1, 7, 129, 1000, 8193, 70_003] {
            for types in [[F32, F32], [F32, BF16], [BF16, F32], [BF16, BF16]] {
                let about = format!("{values}, 4 x {cols} from {} to {}", types[0], types[1]);
                cases.extend(steps(about, values, values.data(types[0], 4 * cols, 1), types[1]));
            }
        }
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0] {
        for count in [1, 11] {
            let mut logits = [-0.0f32, 0.0, -1.0].repeat(11);
            logits.extend([3.0; 11]);
            logits[..count].fill(value);
            let about = format!("{count} times {value}");
            cases.extend(steps(about, Values::Ordinary, Data::of(&logits), BF16));
        }
    }
    cases.extend(misshapen());
    cases
}

/// Each step over 4 rows of logits. What the group agreed on is some values or other.
fn steps(about: String, values: Values, logits: Data, to: DType) -> [Case; 3] {
    let n = logits.bytes.len() / logits.dtype.bytes();
    let cols = n / 4;
    let targets = [999, 1000, 999 + cols, 1003 + cols].map(|target| target as u32);
    let of = |kernel| Case::new(kernel, about.clone()).read(logits.clone());
    let by_target = |kernel| of(kernel).read(Data::of(&targets)).read(values.data(F32, 4, 7));
    let sums = by_target("cross_entropy_sums").write(F32, 8).u32(4).u32(cols).u32(1000);
    let gradient = by_target("cross_entropy_gradient").read(values.data(F32, 8, 8)).write(F32, 4);
    let gradient = gradient.write(to, n).u32(4).u32(cols).u32(1000);
    [
        of("cross_entropy_maxima").write(F32, 4).u32(4).u32(cols),
        sums.u32(1003 + cols),
        gradient.f32(0.125),
    ]
}

/// Each step with one argument too long.
fn misshapen() -> Vec<Case> {
    let mut cases = Vec::new();
    let steps = || steps("one more".into(), Values::Ordinary, Data::of(&[1f32; 12]), F32);
    for (number, lengths) in
        [&[12, 4][..], &[12, 4, 4, 8], &[12, 4, 4, 8, 4, 12]].iter().enumerate()
    {
        for (index, elements) in lengths.iter().enumerate() {
            let case = steps()[number].clone().resized(index, elements + 1);
            cases.push(case.renamed(format!("one more in argument {index}")));
        }
    }
    cases
}
