//! Quantisation that rounds up or down at random.

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Kernel,
    code::{BLOCK, rounds},
    kernel::{F32, FLOAT, FP8, U64, read, u32, u64, update, write},
};

pub(super) const KERNELS: &[Kernel] = &[Kernel {
    name: "quantize_stochastic",
    doc: "As `quantize`, but code[i] = RN(x[i] * scale[0]) rounded stochastically by the word of element first + i of the stream \
          (seed, tensor, draw), saturating.",
    contract: Exact,
    params: &[
        read("x", FLOAT),
        read("scale", F32),
        write("code", FP8),
        update("amax", F32),
        update("counts", U64),
        u64("seed"),
        u32("tensor"),
        u32("draw"),
        u64("first"),
    ],
    code: Code::Cuda(Cuda {
        entries: &[Entry {
            name: "quantize_stochastic",
            block: BLOCK,
            grid: |e| rounds(e.elements(2)).max(1),
        }],
        check: |e| e.expect_all(&[(0, e.elements(2)), (1, 1), (2, e.elements(2)), (3, 1), (4, 2)]),
        scratch: None,
    }),
}];
