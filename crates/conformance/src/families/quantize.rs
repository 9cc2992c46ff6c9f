//! Per-tensor quantisation.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for n in [0, 1, 7, 8, 9, 2047, 8192, 8193, 70_001] {
            cases.extend([F32, BF16].map(|from| amax(values, n, from)));
            cases.extend(casts(values, n));
        }
        for (rows, cols) in
            [(0, 5), (5, 0), (1, 1), (3, 70), (64, 64), (65, 63), (70, 200), (136, 72)]
        {
            cases.extend(transposes(values, rows, cols));
        }
        cases.extend([0, 1, 31, 300].into_iter().flat_map(|n| scales(values, n)));
    }
    cases.extend(limits());
    cases.extend(OLD.into_iter().flat_map(old_amaxes));
    cases.extend([0, 1, 2, 7, u32::MAX].into_iter().flat_map(pushes));
    cases.extend(malformed());
    cases
}

fn amax(values: Values, n: usize, from: DType) -> Case {
    Case::new("amax", format!("{values}, {n} of {from}"))
        .read(values.data(from, n, 1))
        .write(F32, 1)
}

/// From and to every type, under scales that saturate some and lose some.
fn casts(values: Values, n: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for code in [E4M3, E5M2] {
        for (from, scale) in [(F32, 210.0), (BF16, 3e-3), (F32, 1.0)] {
            let x = values.data(from, n, 2);
            cases.push(quantize(format!("{values}, {n} from {from} by {scale}"), x, scale, code));
        }
    }
    for code in [F32, BF16, F16, E4M3, E5M2] {
        for y in [F32, BF16] {
            let case = Case::new("dequantize", format!("{values}, {n} from {code} to {y}"));
            let case = case.read(values.data(code, n, 3)).read(Data::of(&[0.37f32]));
            cases.push(case.write(y, n));
        }
    }
    cases
}

fn quantize(about: String, x: Data, scale: f32, code: DType) -> Case {
    let n = x.bytes.len() / x.dtype.bytes();
    let case = Case::new("quantize", format!("{about} to {code}")).read(x).read(Data::of(&[scale]));
    case.write(code, n).update(Data::of(&[0.75f32])).update(counts())
}

fn counts() -> Data {
    Data::of(&[5u64, u64::from(u32::MAX)])
}

fn transposes(values: Values, rows: usize, cols: usize) -> Vec<Case> {
    let case = |(from, code)| {
        let case =
            Case::new("quantize_transpose", format!("{values}, {rows} x {cols} {from} to {code}"));
        let n = rows * cols;
        let case = case.read(values.data(from, n, 4)).read(Data::of(&[37.5f32])).write(code, n);
        let case = case.write(code, n).update(Data::of(&[0f32])).update(counts());
        case.u32(rows).u32(cols)
    };
    [(F32, E4M3), (F32, E5M2), (BF16, E4M3), (BF16, E5M2)].map(case).into()
}

/// Every rule, for numbers of amaxes.
fn scales(values: Values, n: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for rule in 0..3 {
        for (fp_max, head) in [(448.0, 1.0), (57_344.0, 0.3), (65_504.0, 3e38), (-1.0, f32::NAN)] {
            cases.push(scaling(values.data(F32, n, 5), fp_max, head, rule));
        }
    }
    cases
}

fn scaling(amaxes: Data, fp_max: f32, head: f32, rule: usize) -> Case {
    let about = format!("{} amaxes, {fp_max}, {head}, rule {rule}", amaxes.bytes.len() / 4);
    let case = Case::new("scale_from_amax", about).read(amaxes).read(Data::of(&[head]));
    case.write(F32, 1).write(F32, 1).f32(fp_max).u32(rule)
}

/// Codes of one type, transposed of another.
fn two_types() -> Case {
    let case = Case::new("quantize_transpose", "two types").read(Data::of(&[1f32]));
    let case = case.read(Data::of(&[1f32])).write(E4M3, 1).write(E5M2, 1);
    case.update(Data::of(&[0f32])).update(counts()).u32(1).u32(1)
}

/// What rounds to the largest value and beyond it, what rounds to 0 and to the smallest value.
fn limits() -> Vec<Case> {
    let ends = [448.0, 464.0, 57_344.0, 61_440.0, 2f32.powi(-10), 2f32.powi(-17), f32::INFINITY];
    let around = |x: f32| [x, -x, f32::from_bits(x.to_bits() - 1), f32::from_bits(x.to_bits() + 1)];
    let values: Vec<f32> = ends.into_iter().flat_map(around).chain([0.0, -0.0]).collect();
    let mut cases = Vec::new();
    for code in [E4M3, E5M2] {
        for scale in [1.0, 0.0, -1.0, f32::INFINITY, f32::NAN] {
            cases.push(quantize(format!("limits by {scale}"), Data::of(&values), scale, code));
        }
    }
    cases
}

/// What may stand in amax before.
const OLD: [f32; 6] = [0.0, 1e9, -1e9, f32::INFINITY, f32::NAN, f32::NEG_INFINITY];

fn old_amaxes(old: f32) -> Vec<Case> {
    let case = |n| {
        let x = Values::Ordinary.data(F32, n, 6);
        let case = Case::new("quantize", format!("{n} after an amax of {old}"));
        let case = case.read(x).read(Data::of(&[1f32])).write(E4M3, n);
        case.update(Data::of(&[old])).update(counts())
    };
    [0, 1, 20_000].map(case).into()
}

fn pushes(count: u32) -> Vec<Case> {
    let case = |amax: f32| {
        let case = Case::new("push_amax", format!("{amax} after {count}"));
        case.update(Data::of(&[amax]))
            .update(Values::Ordinary.data(F32, 5, 7))
            .update(Data::of(&[count]))
    };
    OLD.map(case).into()
}

/// What both must refuse.
fn malformed() -> Vec<Case> {
    let cast = || casts(Values::Ordinary, 9).swap_remove(0);
    let back = || casts(Values::Ordinary, 9).swap_remove(6);
    let turn = || transposes(Values::Ordinary, 3, 4).swap_remove(0);
    let scale = || scales(Values::Ordinary, 3).swap_remove(0);
    let push = || pushes(1).swap_remove(0);
    let mut cases = vec![amax(Values::Ordinary, 9, F32).resized(1, 2), push().resized(1, 0)];
    cases.extend((0..5).map(|index| cast().resized(index, 3)));
    cases.extend((0..3).map(|index| back().resized(index, 3)));
    cases.extend((0..6).map(|index| turn().resized(index, 3)));
    cases.extend([1, 2, 3].map(|index| scale().resized(index, 3)));
    cases.extend([0, 2].map(|index| push().resized(index, 3)));
    cases.push(scaling(Data::of(&[1f32]), 448.0, 1.0, 3));
    cases.push(two_types());
    cases
}
