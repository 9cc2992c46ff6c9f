//! Cross-entropy fused with softmax, loss and gradient in one pass over the logits.

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Cuda, Entry, Kernel,
    code::rows,
    kernel::{F32, FLOAT, U32, f32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[Kernel {
    name: "cross_entropy",
    doc: "Per row of logits [rows, cols]: m = max, z = canonical sum of exp(x - m), loss[r] = RN(RN(m + log z) - x[target]); \
          dlogits = RN(RN(RN(exp(x - m) / z) - (1 at the target, else 0)) * gradient_scale), rounded to its type. \
          A target not below cols stands for z = NaN, so that loss and dlogits of its row are NaN.",
    contract: ExactGivenOrder,
    params: &[
        read("logits", FLOAT),
        read("targets", U32),
        write("loss", F32),
        write("dlogits", FLOAT),
        u32("rows"),
        u32("cols"),
        f32("gradient_scale"),
    ],
    code: Code::Cuda(Cuda {
        entries: &[Entry { name: "cross_entropy", block: 1024, grid: |e| rows(e.extent(4)) }],
        check: |e| {
            let (rows, cols) = (e.extent(4), e.extent(5));
            e.expect_all(&[(0, rows * cols), (1, rows), (2, rows), (3, rows * cols)])
        },
        scratch: None,
    }),
}];
