//! Matrix multiplication, named after the model of accumulation.
//!
//! `f32` is the model of a CPU: d = fma over k ascending, one f32 accumulator per output, so the
//! bits do not depend on blocking, threads or instruction set. Products of two FP8 values are exact
//! in f32. The others are models of Hopper, whose tensor cores truncate.
//!
//! The outermost sum of each starts from +0, or, if `from_d` is 1, from what d holds.

use fp8lm_device::Result;

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Cuda, Entry, Extents, Kernel, Param,
    code::BLOCK,
    kernel::{F32, FLOAT, FP8, HALF_OR_FP8, OPERAND, read, u32, update},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "gemm_f32",
        doc: "d[i, j] = the sum over p of a[i, p] * b[j, p], rounded to d's type: one accumulator, from its start, fma over p ascending. \
              a is [m, k], or [k, m] if bit 0 of layout is set; b is [n, k], or [k, n] if bit 1 is; d is [m, n].",
        contract: ExactGivenOrder,
        params: &[
            read("a", OPERAND),
            read("b", OPERAND),
            update("d", FLOAT),
            u32("m"),
            u32("n"),
            u32("k"),
            u32("layout"),
            u32("from_d"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "gemm_f32", block: BLOCK, grid: |e| tiles(e, 3, WIDE) }],
            check,
            scratch: None,
        }),
    },
    Kernel {
        name: "gemm_wgmma",
        doc: "`gemm_f32` with the accumulator of Hopper's tensor core: one chain of steps over all of k, from its start. A step adds 32 products \
              of two FP8 types, or 16 of f16 and BF16.",
        contract: ExactGivenOrder,
        params: &[
            read("a", HALF_OR_FP8),
            read("b", HALF_OR_FP8),
            update("d", FLOAT),
            u32("m"),
            u32("n"),
            u32("k"),
            u32("layout"),
            u32("from_d"),
        ],
        code: Code::Library,
    },
    Kernel {
        name: "gemm_cublaslt",
        doc: "`gemm_wgmma` with a chain from +0 for every 128 of k; acc = RN(acc + chain), ascending, from its start.",
        contract: ExactGivenOrder,
        params: &[
            read("a", FP8),
            read("b", FP8),
            update("d", FLOAT),
            u32("m"),
            u32("n"),
            u32("k"),
            u32("layout"),
            u32("from_d"),
        ],
        code: Code::Library,
    },
    Kernel {
        name: "gemm_scaled_f32",
        doc: "y = RN(acc * alpha) with alpha = RN(a_scale_inv[0] * b_scale_inv[0]) and acc the accumulator of `gemm_f32`; d = y rounded to \
              d's type. Both operands are K-contiguous: a [m, k], b [n, k]; d is [m, n].",
        contract: ExactGivenOrder,
        params: SCALED,
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "gemm_scaled_f32",
                block: BLOCK,
                grid: |e| tiles(e, 5, WIDE),
            }],
            check: check_scaled,
            scratch: None,
        }),
    },
    Kernel {
        name: "gemm_scaled_wgmma",
        doc: "`gemm_scaled_f32` with the accumulator of `gemm_wgmma`.",
        contract: ExactGivenOrder,
        params: SCALED,
        code: Code::Library,
    },
    Kernel {
        name: "gemm_scaled_cublaslt",
        doc: "`gemm_scaled_f32` with the accumulator of `gemm_cublaslt`.",
        contract: ExactGivenOrder,
        params: SCALED,
        code: Code::Library,
    },
    Kernel {
        name: "gemm_block_f32",
        doc: "acc = fma(s, P, acc) over the blocks q of 128 of k, ascending, from its start, with s = RN(a_scale_inv[i, q] * b_scale_inv[j / b_vectors, \
              q]) and P the accumulator of `gemm_f32` over the block, from +0; d = acc rounded to d's type. a is [m, k], b [n, k], a_scale_inv \
              [m, ceil(k / 128)], b_scale_inv [ceil(n / b_vectors), ceil(k / 128)] with b_vectors 1 or 128; d is [m, n].",
        contract: ExactGivenOrder,
        params: BLOCKS,
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "gemm_block_f32",
                block: BLOCK,
                grid: |e| tiles(e, 5, NARROW),
            }],
            check: check_block,
            scratch: None,
        }),
    },
    Kernel {
        name: "gemm_block_wgmma",
        doc: "`gemm_block_f32` with P the accumulator of `gemm_wgmma` over the block, from +0.",
        contract: ExactGivenOrder,
        params: BLOCKS,
        code: Code::Library,
    },
];

const SCALED: &[Param] = &[
    read("a", FP8),
    read("a_scale_inv", F32),
    read("b", FP8),
    read("b_scale_inv", F32),
    update("d", FLOAT),
    u32("m"),
    u32("n"),
    u32("k"),
    u32("from_d"),
];

const BLOCKS: &[Param] = &[
    read("a", FP8),
    read("a_scale_inv", F32),
    read("b", FP8),
    read("b_scale_inv", F32),
    update("d", FLOAT),
    u32("m"),
    u32("n"),
    u32("k"),
    u32("b_vectors"),
    u32("from_d"),
];

/// Tiles of d, whose extents start at `first`.
fn tiles(e: &Extents<'_>, first: usize, cols: usize) -> usize {
    e.extent(first).div_ceil(TILE_ROWS) * e.extent(first + 1).div_ceil(cols)
}

fn check(e: &Extents<'_>) -> Result<()> {
    let [m, n, k, layout] = [3, 4, 5, 6].map(|index| e.extent(index));
    if layout > 3 {
        return Err(e.invalid(6, "a layout of two bits".into(), layout.to_string()));
    }
    e.expect_all(&[(0, m * k), (1, n * k)])?;
    check_from_d(e, 7)?;
    e.expect(2, m * n)
}

fn check_scaled(e: &Extents<'_>) -> Result<()> {
    let [m, n, k] = [5, 6, 7].map(|index| e.extent(index));
    e.expect_all(&[(0, m * k), (2, n * k), (1, 1), (3, 1)])?;
    check_from_d(e, 8)?;
    e.expect(4, m * n)
}

fn check_block(e: &Extents<'_>) -> Result<()> {
    let [m, n, k, b_vectors] = [5, 6, 7, 8].map(|index| e.extent(index));
    if ![1, PROMOTION].contains(&b_vectors) {
        return Err(e.invalid(8, format!("1 or {PROMOTION}"), b_vectors.to_string()));
    }
    let blocks = k.div_ceil(PROMOTION);
    e.expect_all(&[(0, m * k), (2, n * k), (1, m * blocks), (3, n.div_ceil(b_vectors) * blocks)])?;
    check_from_d(e, 9)?;
    e.expect(4, m * n)
}

fn check_from_d(e: &Extents<'_>, index: usize) -> Result<()> {
    match e.extent(index) {
        0 | 1 => Ok(()),
        other => Err(e.invalid(index, "0 or 1".into(), other.to_string())),
    }
}

/// Steps of k that share factors.
const PROMOTION: usize = 128;
/// Rows of a tile, as in `gemm.cuh`.
const TILE_ROWS: usize = 128;
/// Columns of a tile with one accumulator an output.
const WIDE: usize = 128;
/// Columns of a tile with two accumulators an output.
const NARROW: usize = 64;
