//! Canonical reductions: the order is fixed, so the bits are.
//!
//! The canonical sum of up to 65,536 values: 128 lanes, lane l adds x[l], x[l + 128], ...
//! ascending from +0; then for w = 64, 32, ..., 1: lane[l] = lane[l] + lane[l + w] for l < w. Of
//! more values: the canonical sum of the canonical sums of chunks of 65,536.

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Cuda, Entry, Extents, Kernel,
    kernel::{F32, FLOAT, STATE, U32, f32, read, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "sum",
        doc: "y[0] = the canonical sum of x.",
        contract: ExactGivenOrder,
        params: &[read("x", F32), write("y", F32)],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "sum_chunks", block: 128, grid: chunks },
                Entry { name: "sum_total", block: 128, grid: |_| 1 },
            ],
            check: |e| e.expect(1, 1),
            scratch: Some(sums_of_chunks),
        }),
    },
    Kernel {
        name: "sum_squares",
        doc: "y[0] = the canonical sum of RN(x[i] * x[i]).",
        contract: ExactGivenOrder,
        params: &[read("x", FLOAT), write("y", F32)],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "sum_squares_chunks", block: 128, grid: chunks },
                Entry { name: "sum_squares_total", block: 128, grid: |_| 1 },
            ],
            check: |e| e.expect(1, 1),
            scratch: Some(sums_of_chunks),
        }),
    },
    Kernel {
        name: "sum_squares_dequantized",
        doc: "y[0] = the canonical sum of RN(g * g) with g = RN(code[i] * scale_inv[0]), the code decoded.",
        contract: ExactGivenOrder,
        params: &[read("code", STATE), read("scale_inv", F32), write("y", F32)],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "sum_squares_dequantized_chunks", block: 128, grid: chunks },
                Entry { name: "sum_squares_dequantized_total", block: 128, grid: |_| 1 },
            ],
            check: |e| e.expect_all(&[(1, 1), (2, 1)]),
            scratch: Some(sums_of_chunks),
        }),
    },
    Kernel {
        name: "clip",
        doc: "norm[0] = RN(sqrt(canonical sum of sums)). skip[0] = 1 where the norm or one of amaxes is not finite, else 0. \
              factor[0] = RN(max_norm / norm[0]) where norm[0] > max_norm and skip[0] = 0, else 1.",
        contract: ExactGivenOrder,
        params: &[
            read("sums", F32),
            read("amaxes", F32),
            write("norm", F32),
            write("factor", F32),
            write("skip", U32),
            f32("max_norm"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "clip", block: 128, grid: |_| 1 }],
            check: |e| e.expect_all(&[(2, 1), (3, 1), (4, 1)]),
            scratch: None,
        }),
    },
];

/// The chunks of the first argument, each summed by a block.
fn chunks(e: &Extents<'_>) -> usize {
    e.elements(0).div_ceil(CHUNK)
}

/// Bytes of the sums of chunks.
fn sums_of_chunks(e: &Extents<'_>) -> usize {
    4 * chunks(e)
}

/// The most values that one pass over the lanes takes, as in `reduce.cuh`.
const CHUNK: usize = 65_536;
