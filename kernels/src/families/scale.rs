//! Values stored under a scale that is given.

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Kernel,
    code::{BLOCK, groups},
    kernel::{F32, FLOAT, STATE, read, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "scale",
        doc: "y[i] = RN(x[i] * scale[0]), rounded to y's type; FP8 saturates.",
        contract: Exact,
        params: &[read("x", FLOAT), read("scale", F32), write("y", STATE)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "scale", block: BLOCK, grid: |e| groups(e.elements(2)) }],
            check: |e| e.expect_all(&[(0, e.elements(2)), (1, 1)]),
            scratch: None,
        }),
    },
    Kernel {
        name: "reciprocal",
        doc: "y[i] = RN(1 / x[i]).",
        contract: Exact,
        params: &[read("x", F32), write("y", F32)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "reciprocal", block: BLOCK, grid: |e| groups(e.elements(1)) }],
            check: |e| e.expect(0, e.elements(1)),
            scratch: None,
        }),
    },
];
