//! Matrix multiplication, named after the model of accumulation.
//!
//! `f32` is the model of a CPU: d = fma over k ascending, one f32 accumulator per output, so the
//! bits do not depend on blocking, threads or instruction set. Products of two FP8 values are exact
//! in f32. The others are models of Hopper, whose tensor cores truncate.
//!
//! The outermost sum of each starts from +0, or, if `from_d` is 1, from what d holds.

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Kernel, Param,
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
        code: Code::Library,
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
        code: Code::Library,
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
        params: BLOCK,
        code: Code::Library,
    },
    Kernel {
        name: "gemm_block_wgmma",
        doc: "`gemm_block_f32` with P the accumulator of `gemm_wgmma` over the block, from +0.",
        contract: ExactGivenOrder,
        params: BLOCK,
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

const BLOCK: &[Param] = &[
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
