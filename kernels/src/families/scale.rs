//! Values stored under a scale that is given.

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Kernel,
    code::{BLOCK, groups},
    kernel::{F32, FLOAT, STATE, read, u32, update, write},
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
    Kernel {
        name: "rescale",
        doc: "scale[i] = RN(ranks * RN(scale[i] * factor[i])), overflow becoming the largest f32 each time; scale_inv[i] = RN(1 / scale[i]).",
        contract: Exact,
        params: &[update("scale", F32), read("factor", F32), write("scale_inv", F32), u32("ranks")],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "rescale",
                block: BLOCK,
                grid: |e| e.elements(0).div_ceil(BLOCK as usize),
            }],
            check: |e| e.expect_all(&[(1, e.elements(0)), (2, e.elements(0))]),
            scratch: None,
        }),
    },
];
