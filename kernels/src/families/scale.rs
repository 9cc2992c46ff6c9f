//! Values stored under a scale that is given.

use crate::{
    Contract::Exact,
    Kernel,
    kernel::{F32, FLOAT, STATE, read, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "scale",
        doc: "y[i] = RN(x[i] * scale[0]), rounded to y's type; FP8 saturates.",
        contract: Exact,
        params: &[read("x", FLOAT), read("scale", F32), write("y", STATE)],
    },
    Kernel {
        name: "reciprocal",
        doc: "y[i] = RN(1 / x[i]).",
        contract: Exact,
        params: &[read("x", F32), write("y", F32)],
    },
];
