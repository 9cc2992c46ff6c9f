//! Values stored under a scale.

use fp8lm_device::DType::{BF16, E4M3, E5M2, F16, F32};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for n in [0, 1, 7, 8, 2051] {
            for from in [F32, BF16] {
                for to in [F32, BF16, F16, E4M3, E5M2] {
                    let case = Case::new("scale", format!("{values}, {n} from {from} to {to}"));
                    let case = case.read(values.data(from, n, 1)).read(Data::of(&[37.5f32]));
                    cases.push(case.write(to, n));
                }
            }
            let case = Case::new("reciprocal", format!("{values}, {n}"));
            cases.push(case.read(values.data(F32, n, 2)).write(F32, n));
            for ranks in [1, 3, 1 << 24] {
                let case = Case::new("rescale", format!("{values}, {n}, {ranks} ranks"));
                let case = case.update(values.data(F32, n, 3)).read(values.data(F32, n, 4));
                cases.push(case.write(F32, n).u32(ranks));
            }
        }
    }
    cases
}
