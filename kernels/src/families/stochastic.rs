//! Quantisation that rounds up or down at random.

use crate::{
    Code,
    Contract::Exact,
    Kernel,
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
    code: Code::Library,
}];
