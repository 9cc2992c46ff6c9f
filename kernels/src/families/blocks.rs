//! Quantisation in blocks of neighbours that share a factor (DeepSeek-V3, arXiv 2412.19437, section
//! 3.3.2; OCP Microscaling Formats 1.0).
//!
//! Of the types of `scale_inv`, E8M0 is for the rules that give powers of two.

use crate::{
    Code,
    Contract::Exact,
    Kernel, Param,
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
        code: Code::Library,
    },
    Kernel {
        name: "quantize_block",
        doc: "As `quantize_tile` for blocks of 128 x 128 elements, those at the end perhaps smaller: scale_inv is [ceil(rows / 128), \
              ceil(cols / 128)].",
        contract: Exact,
        params: QUANTIZE,
        code: Code::Library,
    },
    Kernel {
        name: "quantize_mx",
        doc: "As `quantize_tile` for 32 elements of a row: scale_inv is [rows, ceil(cols / 32)], s = 2^(floor(log2(a)) - emax) with emax 8 for \
              E4M3 and 15 for E5M2 (rule 3, `ocp`), or RN(a / fp_max) rounded up to a power of two (rule 4, `up`), the exponent clamped \
              to [-126, 127].",
        contract: Exact,
        params: QUANTIZE,
        code: Code::Library,
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
        code: Code::Library,
    },
    Kernel {
        name: "dequantize_tile",
        doc: "y[r, c] = RN(decode(code[r, c]) * scale_inv[r, c / 128]), then rounded to y's type; code and y are [rows, cols].",
        contract: Exact,
        params: DEQUANTIZE,
        code: Code::Library,
    },
    Kernel {
        name: "dequantize_block",
        doc: "As `dequantize_tile` with scale_inv[r / 128, c / 128].",
        contract: Exact,
        params: DEQUANTIZE,
        code: Code::Library,
    },
    Kernel {
        name: "dequantize_mx",
        doc: "As `dequantize_tile` with scale_inv[r, c / 32].",
        contract: Exact,
        params: DEQUANTIZE,
        code: Code::Library,
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
        code: Code::Library,
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
        code: Code::Library,
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
