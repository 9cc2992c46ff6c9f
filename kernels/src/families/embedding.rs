//! Token embedding: rows of a table, and the sum of gradients per row.

use crate::{
    Code,
    Contract::{Exact, ExactGivenOrder},
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, row_groups, rows},
    kernel::{F32, FLOAT, U32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "embedding",
        doc: "y[t] = table[tokens[t] - first], for a table of rows of `cols` that are rows first.. of a vocabulary. A token of another \
              row gives a row of +0, one that is not below vocabulary a row of NaN.",
        contract: Exact,
        params: &[
            read("tokens", U32),
            read("table", FLOAT),
            write("y", FLOAT),
            u32("cols"),
            u32("first"),
            u32("vocabulary"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "embedding",
                block: BLOCK,
                grid: |e| row_groups(e.elements(0), e.extent(3)),
            }],
            check: |e| {
                let (count, cols) = (e.elements(0), e.extent(3));
                e.expect_all(&[(1, vocabulary(e, 1) * cols), (2, count * cols)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "embedding_backward",
        doc: "dtable[w] = the plain sum from +0 of dy[t] over the t with tokens[t] = first + w, t ascending. A token without a row is passed over.",
        contract: ExactGivenOrder,
        params: &[
            read("tokens", U32),
            read("dy", FLOAT),
            write("dtable", F32),
            u32("cols"),
            u32("first"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "embedding_backward_clear", block: BLOCK, grid: tokens },
                Entry { name: "embedding_backward_counts", block: BLOCK, grid: places },
                Entry { name: "embedding_backward_starts", block: BLOCK, grid: tokens },
                Entry { name: "embedding_backward_fill", block: BLOCK, grid: places },
                Entry { name: "embedding_backward_rank", block: BLOCK, grid: places },
                Entry { name: "embedding_backward_sums", block: 128, grid: sums },
            ],
            check: |e| {
                let (count, cols) = (e.elements(0), e.extent(3));
                e.expect_all(&[(1, count * cols), (2, vocabulary(e, 2) * cols)])
            },
            // One number, two for every token and two for every place.
            scratch: Some(|e| 4 * (1 + 2 * vocabulary(e, 2) + 2 * e.elements(0))),
        }),
    },
];

/// The rows of the table that is argument `index`; the check refuses a rest.
fn vocabulary(e: &Extents<'_>, index: usize) -> usize {
    e.elements(index).checked_div(e.extent(3)).unwrap_or(0)
}

/// Blocks for a token of the vocabulary a thread.
fn tokens(e: &Extents<'_>) -> usize {
    vocabulary(e, 2).div_ceil(BLOCK as usize)
}

/// Blocks for a place a thread; none where no token has a row.
fn places(e: &Extents<'_>) -> usize {
    if vocabulary(e, 2) == 0 { 0 } else { e.elements(0).div_ceil(BLOCK as usize) }
}

/// Blocks for [`COLUMNS`] columns of a token each.
fn sums(e: &Extents<'_>) -> usize {
    rows(vocabulary(e, 2) * e.extent(3).div_ceil(COLUMNS))
}

/// Columns of a block of 128 threads, four a thread.
const COLUMNS: usize = 512;
