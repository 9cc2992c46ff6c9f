//! Values of several ranks reduced, and counts.

use fp8lm_device::DType::{BF16, E4M3, E5M2, F16, F32, U64};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for op in 0..4 {
            for dtype in [E4M3, E5M2, F32, BF16, F16] {
                for (ranks, n, amax) in [
                    (1, 1, 0.5f32),
                    (2, 0, f32::NAN),
                    (3, 8, -1.0),
                    (4, 2051, 1e9),
                    (9, 300, f32::NAN),
                ] {
                    let about = format!("{values}, op {op}, {ranks} x {n} {dtype}");
                    let code = || values.data(dtype, ranks * n, 1);
                    let case = Case::new("amax_ranks", about.clone()).read(code());
                    cases.push(case.update(Data::of(&[amax])).u32(ranks).u32(op));
                    for (to, scale) in [(F32, 1.0f32), (dtype, 0.3)] {
                        let case = Case::new("reduce_ranks", format!("{about} to {to}"));
                        let case = case.read(code()).read(Data::of(&[scale])).write(to, n);
                        cases.push(case.u32(ranks).u32(op));
                    }
                }
                let case = Case::new("combine", format!("{values}, op {op}, {dtype}"));
                let case = case.read(values.data(dtype, 1003, 2)).read(values.data(dtype, 1003, 3));
                cases.push(case.write(dtype, 1003).u32(op));
            }
        }
    }
    cases.extend(counts());
    cases.extend(malformed());
    cases
}

fn counts() -> Vec<Case> {
    let mut cases = Vec::new();
    for (ranks, n) in [(0, 3), (1, 1), (2, 0), (5, 300)] {
        let x: Vec<u64> =
            (0..ranks * n).map(|i| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        let case = Case::new("sum_counts", format!("{ranks} x {n}"));
        cases.push(case.read(Data::of(&x)).write(U64, n).u32(ranks));
    }
    for values in Values::ALL {
        for dtype in [E4M3, E5M2] {
            for n in [0, 1, 7, 8, 2051, 70_001] {
                let case = Case::new("count_largest", format!("{values}, {n} {dtype}"));
                cases.push(case.read(values.data(dtype, n, 5)).update(Data::of(&[u64::MAX - 3])));
            }
        }
    }
    cases
}

/// Launches that no device may run.
fn malformed() -> Vec<Case> {
    let codes = |dtype, n| Values::Ordinary.data(dtype, n, 4);
    let reduce = |about, n, ranks, op| {
        let case = Case::new("reduce_ranks", about).read(codes(E4M3, n)).read(Data::of(&[1f32]));
        case.write(F32, 4).u32(ranks).u32(op)
    };
    let amax = |about, n, ranks, op| {
        let case = Case::new("amax_ranks", about).read(codes(E4M3, n));
        case.update(Data::of(&[0f32])).u32(ranks).u32(op)
    };
    let combine = |about, b, op| {
        let case = Case::new("combine", about).read(codes(E4M3, 8)).read(b);
        case.write(E4M3, 8).u32(op)
    };
    vec![
        reduce("no ranks", 0, 0, 0),
        reduce("too few codes", 11, 3, 0),
        reduce("unknown operation", 12, 3, 4),
        amax("no ranks", 0, 0, 0),
        amax("a row is not whole", 11, 3, 0),
        amax("unknown operation", 12, 3, 4),
        Case::new("sum_counts", "too few").read(Data::of(&[1u64, 2, 3])).write(U64, 2).u32(2),
        Case::new("count_largest", "two counts").read(codes(E5M2, 8)).update(Data::of(&[1u64, 2])),
        combine("two formats", codes(E5M2, 8), 0),
        combine("two lengths", codes(E4M3, 7), 0),
        combine("unknown operation", codes(E4M3, 8), 9),
    ]
}
