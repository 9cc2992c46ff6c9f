//! Cross-entropy fused with softmax, loss and gradient in one pass over the logits; and in three steps, between which
//! members of a group that have the columns of the logits agree.

use crate::{
    Code,
    Contract::{Exact, ExactGivenOrder},
    Cuda, Entry, Kernel,
    code::rows,
    kernel::{F32, FLOAT, U32, f32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
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
    },
    Kernel {
        name: "cross_entropy_maxima",
        doc: "Per row of logits [rows, cols]: maxima[r] = the largest, a NaN passed over, +0 for -0, -Inf of none.",
        contract: Exact,
        params: &[read("logits", FLOAT), write("maxima", F32), u32("rows"), u32("cols")],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "cross_entropy_maxima",
                block: 1024,
                grid: |e| rows(e.extent(2)),
            }],
            check: |e| e.expect_all(&[(0, e.extent(2) * e.extent(3)), (1, e.extent(2))]),
            scratch: None,
        }),
    },
    Kernel {
        name: "cross_entropy_sums",
        doc: "Per row of logits [rows, cols], which are columns first.. of a vocabulary, with the maxima of all of it: \
              sums[0, r] = canonical sum of exp(x - maxima[r]), NaN for a target that is not below vocabulary; \
              sums[1, r] = x[target - first], or 0 where that is none of these columns.",
        contract: ExactGivenOrder,
        params: &[
            read("logits", FLOAT),
            read("targets", U32),
            read("maxima", F32),
            write("sums", F32),
            u32("rows"),
            u32("cols"),
            u32("first"),
            u32("vocabulary"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "cross_entropy_sums",
                block: 1024,
                grid: |e| rows(e.extent(4)),
            }],
            check: |e| {
                let (rows, cols) = (e.extent(4), e.extent(5));
                e.expect_all(&[(0, rows * cols), (1, rows), (2, rows), (3, 2 * rows)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "cross_entropy_gradient",
        doc: "Per row of logits [rows, cols], which are columns first.. of a vocabulary, with m = maxima[r], z = sums[0, r]: \
              loss[r] = RN(RN(m + log z) - sums[1, r]); dlogits as `cross_entropy` has it, the target's column target - first.",
        contract: Exact,
        params: &[
            read("logits", FLOAT),
            read("targets", U32),
            read("maxima", F32),
            read("sums", F32),
            write("loss", F32),
            write("dlogits", FLOAT),
            u32("rows"),
            u32("cols"),
            u32("first"),
            f32("gradient_scale"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "cross_entropy_gradient",
                block: 1024,
                grid: |e| rows(e.extent(6)),
            }],
            check: |e| {
                let (rows, n) = (e.extent(6), e.extent(6) * e.extent(7));
                e.expect_all(&[(0, n), (1, rows), (2, rows), (3, 2 * rows), (4, rows), (5, n)])
            },
            scratch: None,
        }),
    },
];
