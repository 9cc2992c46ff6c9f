//! RMSNorm and LayerNorm, forward and backward.
//!
//! Per row of n columns, in f32, every step rounded once; sums over a row are canonical (see
//! `reduce`). Sums over rows per column go by chunks of 256 rows, plain ascending adds from +0
//! inside a chunk, chunk sums added by a binary tree over adjacent chunks, an odd one carried up.

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, rows},
    kernel::{F32, FLOAT, f32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "rms_norm",
        doc: "rstd[r] = RN(1 / RN(sqrt(RN(RN(sum of RN(x * x) / n) + eps)))); y = RN(RN(x * rstd[r]) * gain).",
        contract: ExactGivenOrder,
        params: &[
            read("x", FLOAT),
            read("gain", FLOAT),
            write("y", FLOAT),
            write("rstd", F32),
            u32("rows"),
            u32("cols"),
            f32("eps"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "rms_norm", block: 128, grid: |e| rows(e.extent(4)) }],
            check: |e| {
                let (rows, cols) = (e.extent(4), e.extent(5));
                e.expect_all(&[(0, rows * cols), (1, cols), (2, rows * cols), (3, rows)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "rms_norm_backward",
        doc: "With xhat = RN(x * rstd[r]), w = RN(dy * gain), c = RN(sum of RN(w * xhat) / n): \
              dx = RN(RN(w - RN(xhat * c)) * rstd[r]). dgain[j] = sum over rows of RN(dy * xhat).",
        contract: ExactGivenOrder,
        params: &[
            read("dy", FLOAT),
            read("x", FLOAT),
            read("gain", FLOAT),
            read("rstd", F32),
            write("dx", FLOAT),
            write("dgain", F32),
            u32("rows"),
            u32("cols"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "rms_norm_backward", block: 128, grid: |e| rows(e.extent(6)) },
                Entry {
                    name: "rms_norm_backward_chunks",
                    block: 128,
                    grid: |e| column_blocks(e, 6),
                },
                Entry {
                    name: "rms_norm_backward_tree",
                    block: BLOCK,
                    grid: |e| e.extent(7).div_ceil(BLOCK as usize),
                },
            ],
            check: |e| {
                let (rows, cols) = (e.extent(6), e.extent(7));
                e.expect_all(&[(0, rows * cols), (1, rows * cols), (2, cols), (3, rows)])?;
                e.expect_all(&[(4, rows * cols), (5, cols)])
            },
            scratch: Some(|e| sums_of_chunks(e, 6)),
        }),
    },
    Kernel {
        name: "layer_norm",
        doc: "mean[r] = RN(sum of x / n); d = RN(x - mean[r]); rstd[r] = RN(1 / RN(sqrt(RN(RN(sum of RN(d * d) / n) + eps)))); \
              y = RN(RN(RN(d * rstd[r]) * gain) + shift).",
        contract: ExactGivenOrder,
        params: &[
            read("x", FLOAT),
            read("gain", FLOAT),
            read("shift", FLOAT),
            write("y", FLOAT),
            write("mean", F32),
            write("rstd", F32),
            u32("rows"),
            u32("cols"),
            f32("eps"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "layer_norm", block: 128, grid: |e| rows(e.extent(6)) }],
            check: |e| {
                let (rows, cols) = (e.extent(6), e.extent(7));
                e.expect_all(&[(0, rows * cols), (1, cols), (2, cols)])?;
                e.expect_all(&[(3, rows * cols), (4, rows), (5, rows)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "layer_norm_backward",
        doc: "With xhat = RN(RN(x - mean[r]) * rstd[r]), w = RN(dy * gain), a = RN(sum of w / n), c = RN(sum of RN(w * xhat) / n): \
              dx = RN(RN(RN(w - a) - RN(xhat * c)) * rstd[r]). dgain[j] = sum over rows of RN(dy * xhat), dshift[j] = sum over rows of dy.",
        contract: ExactGivenOrder,
        params: &[
            read("dy", FLOAT),
            read("x", FLOAT),
            read("gain", FLOAT),
            read("mean", F32),
            read("rstd", F32),
            write("dx", FLOAT),
            write("dgain", F32),
            write("dshift", F32),
            u32("rows"),
            u32("cols"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "layer_norm_backward", block: 128, grid: |e| rows(e.extent(8)) },
                Entry {
                    name: "layer_norm_backward_chunks",
                    block: 128,
                    grid: |e| column_blocks(e, 8),
                },
                Entry {
                    name: "layer_norm_backward_tree",
                    block: BLOCK,
                    grid: |e| e.extent(9).div_ceil(BLOCK as usize),
                },
            ],
            check: |e| {
                let (rows, cols) = (e.extent(8), e.extent(9));
                e.expect_all(&[
                    (0, rows * cols),
                    (1, rows * cols),
                    (2, cols),
                    (3, rows),
                    (4, rows),
                ])?;
                e.expect_all(&[(5, rows * cols), (6, cols), (7, cols)])
            },
            scratch: Some(|e| 2 * sums_of_chunks(e, 8)),
        }),
    },
];

/// The blocks that sum columns over chunks of rows, whose number is argument `index`.
fn column_blocks(e: &Extents<'_>, index: usize) -> usize {
    e.extent(index).div_ceil(CHUNK_ROWS) * e.extent(index + 1).div_ceil(COLUMNS)
}

/// Bytes of one sum per column and chunk of rows, whose number is argument `index`.
fn sums_of_chunks(e: &Extents<'_>, index: usize) -> usize {
    4 * e.extent(index).div_ceil(CHUNK_ROWS) * e.extent(index + 1)
}

/// The rows of a chunk, as in `columns.cuh`.
const CHUNK_ROWS: usize = 256;
/// Columns of a block, one a thread.
const COLUMNS: usize = 128;
