//! Quantisation in blocks of neighbours that share a factor (DeepSeek-V3, arXiv 2412.19437, section
//! 3.3.2; OCP Microscaling Formats 1.0).
//!
//! Of the types of `scale_inv`, E8M0 is for the rules that give powers of two.

use fp8lm_device::{DType, Result};

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Extents, Kernel, Param,
    code::{BLOCK, GROUP, ROUNDS, row_groups},
    kernel::{F32, FACTOR, FLOAT, FP8, U8, U64, read, u32, update, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "quantize_tile",
        doc: "x, code [rows, cols], scale_inv [rows, ceil(cols / 128)]. For every 128 elements of a row, the last ones perhaps fewer, with a = \
              the largest finite abs(x), 0 for none: s = RN(max(a, 1e-4) / fp_max) (rule 1, `exact`), or that rounded up to a power of two \
              (rule 2, `ue8m0`). scale_inv = s; code = SatRNE(RN(x / s)), or SatRNE(RN(x * RN(1 / s))) where divide is 0. amax[0] becomes \
              the larger of itself and x's amax; counts[0] grows by the elements that rounding takes beyond fp_max, counts[1] by those \
              not 0 before and 0 after.",
        contract: Exact,
        params: QUANTIZE,
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "quantize_tile",
                block: BLOCK,
                grid: |e| row_blocks(e, TILE),
            }],
            check: |e| check_quantize(e, TILE),
            scratch: None,
        }),
    },
    Kernel {
        name: "quantize_block",
        doc: "As `quantize_tile` for blocks of 128 x 128 elements, those at the end perhaps smaller: scale_inv is [ceil(rows / 128), \
              ceil(cols / 128)].",
        contract: Exact,
        params: QUANTIZE,
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "quantize_block",
                block: 512,
                grid: |e| count(e.extent(5), e.extent(6), SQUARE).max(1),
            }],
            check: |e| check_quantize(e, SQUARE),
            scratch: None,
        }),
    },
    Kernel {
        name: "quantize_mx",
        doc: "As `quantize_tile` for 32 elements of a row: scale_inv is [rows, ceil(cols / 32)], s = 2^(floor(log2(a)) - emax) with emax 8 for \
              E4M3 and 15 for E5M2 (rule 3, `ocp`), or RN(a / fp_max) rounded up to a power of two (rule 4, `up`), the exponent clamped \
              to [-126, 127].",
        contract: Exact,
        params: QUANTIZE,
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "quantize_mx", block: BLOCK, grid: |e| row_blocks(e, MX) }],
            check: |e| check_quantize(e, MX),
            scratch: None,
        }),
    },
    Kernel {
        name: "quantize_tile_transpose",
        doc: "Tiles of 128 x 1: code_t [cols, rows] and scale_inv_t [cols, ceil(rows / 128)] are code and scale_inv of `quantize_tile`, which \
              divides, for x [rows, cols] turned to [cols, rows].",
        contract: Exact,
        params: &[
            read("x", FLOAT),
            write("code_t", FP8),
            write("scale_inv_t", FACTOR),
            u32("rows"),
            u32("cols"),
            u32("rule"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "quantize_tile_transpose",
                block: BLOCK,
                grid: |e| count(e.extent(3), e.extent(4), TURNED),
            }],
            check: check_transpose,
            scratch: None,
        }),
    },
    Kernel {
        name: "dequantize_tile",
        doc: "y[r, c] = RN(decode(code[r, c]) * scale_inv[r, c / 128]), then rounded to y's type; code and y are [rows, cols].",
        contract: Exact,
        params: DEQUANTIZE,
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "dequantize_tile",
                block: BLOCK,
                grid: |e| row_groups(e.extent(3), e.extent(4)),
            }],
            check: |e| check_dequantize(e, TILE),
            scratch: None,
        }),
    },
    Kernel {
        name: "dequantize_block",
        doc: "As `dequantize_tile` with scale_inv[r / 128, c / 128].",
        contract: Exact,
        params: DEQUANTIZE,
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "dequantize_block",
                block: BLOCK,
                grid: |e| row_groups(e.extent(3), e.extent(4)),
            }],
            check: |e| check_dequantize(e, SQUARE),
            scratch: None,
        }),
    },
    Kernel {
        name: "dequantize_mx",
        doc: "As `dequantize_tile` with scale_inv[r, c / 32].",
        contract: Exact,
        params: DEQUANTIZE,
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "dequantize_mx",
                block: BLOCK,
                grid: |e| row_groups(e.extent(3), e.extent(4)),
            }],
            check: |e| check_dequantize(e, MX),
            scratch: None,
        }),
    },
    Kernel {
        name: "quantize_e5m6",
        doc: "x [rows, cols] in the tiles of `quantize_tile` under `ue8m0`, with fp_max 65,024: code = x / s rounded to E5M6, saturating, \
              each row packed by itself into ceil(3 cols / 2) bytes, two codes in three.",
        contract: Exact,
        params: &[
            read("x", FLOAT),
            write("code", U8),
            write("scale_inv", FACTOR),
            u32("rows"),
            u32("cols"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "quantize_e5m6", block: BLOCK, grid: packing_blocks }],
            check: check_pack,
            scratch: None,
        }),
    },
    Kernel {
        name: "dequantize_e5m6",
        doc: "As `dequantize_tile` for the codes of `quantize_e5m6`.",
        contract: Exact,
        params: &[
            read("code", U8),
            read("scale_inv", FACTOR),
            write("y", FLOAT),
            u32("rows"),
            u32("cols"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "dequantize_e5m6",
                block: BLOCK,
                grid: |e| row_groups(e.extent(3), e.extent(4)),
            }],
            check: check_unpack,
            scratch: None,
        }),
    },
];

const QUANTIZE: &[Param] = &[
    read("x", FLOAT),
    write("code", FP8),
    write("scale_inv", FACTOR),
    update("amax", F32),
    update("counts", U64),
    u32("rows"),
    u32("cols"),
    u32("rule"),
    u32("divide"),
];

const DEQUANTIZE: &[Param] =
    &[read("code", FP8), read("scale_inv", FACTOR), write("y", FLOAT), u32("rows"), u32("cols")];

/// Rows and columns of a block.
type Shape = [usize; 2];

const TILE: Shape = [1, 128];
const SQUARE: Shape = [128, 128];
const MX: Shape = [1, 32];
/// What a block of threads takes of tiles of 128 x 1.
const TURNED: Shape = [128, 64];

/// How many blocks a matrix has.
const fn count(rows: usize, cols: usize, [height, width]: Shape) -> usize {
    rows.div_ceil(height) * cols.div_ceil(width)
}

/// The blocks of threads for blocks of one row; without elements there is one, which looks after amax.
fn row_blocks(e: &Extents<'_>, shape: Shape) -> usize {
    let threads = count(e.extent(5), e.extent(6), shape) * shape[1] / GROUP;
    threads.div_ceil(BLOCK as usize * ROUNDS).max(1)
}

/// Those of `quantize_e5m6`.
fn packing_blocks(e: &Extents<'_>) -> usize {
    (count(e.extent(3), e.extent(4), TILE) * TILE[1] / GROUP).div_ceil(BLOCK as usize)
}

fn check_quantize(e: &Extents<'_>, shape: Shape) -> Result<()> {
    let (rows, cols) = (e.extent(5), e.extent(6));
    check_rule(e, 7, if shape == MX { [3, 4] } else { [1, 2] })?;
    let n = rows * cols;
    e.expect_all(&[(0, n), (1, n), (3, 1), (4, 2), (2, count(rows, cols, shape))])
}

/// Refuses what is neither of two rules; `exact`, the first of all, gives no powers of two.
fn check_rule(e: &Extents<'_>, index: usize, rules: [usize; 2]) -> Result<()> {
    let rule = e.extent(index);
    if !rules.contains(&rule) {
        return Err(e.invalid(index, format!("{} or {}", rules[0], rules[1]), rule.to_string()));
    }
    if rule == 1 && e.dtype(2) == DType::E8M0 {
        return Err(e.invalid(2, "f32".into(), "e8m0".into()));
    }
    Ok(())
}

fn check_transpose(e: &Extents<'_>) -> Result<()> {
    let (rows, cols) = (e.extent(3), e.extent(4));
    check_rule(e, 5, [1, 2])?;
    e.expect_all(&[(0, rows * cols), (1, rows * cols), (2, count(cols, rows, TILE))])
}

fn check_dequantize(e: &Extents<'_>, shape: Shape) -> Result<()> {
    let (rows, cols) = (e.extent(3), e.extent(4));
    e.expect_all(&[(0, rows * cols), (1, count(rows, cols, shape)), (2, rows * cols)])
}

/// The bytes of rows in E5M6.
const fn packed_bytes(rows: usize, cols: usize) -> usize {
    rows * (cols + cols.div_ceil(2))
}

fn check_pack(e: &Extents<'_>) -> Result<()> {
    let (rows, cols) = (e.extent(3), e.extent(4));
    e.expect_all(&[(0, rows * cols), (1, packed_bytes(rows, cols)), (2, count(rows, cols, TILE))])
}

fn check_unpack(e: &Extents<'_>) -> Result<()> {
    let (rows, cols) = (e.extent(3), e.extent(4));
    e.expect_all(&[(0, packed_bytes(rows, cols)), (1, count(rows, cols, TILE)), (2, rows * cols)])
}
