//! Matrix multiplication.
//!
//! `f32` is the accumulation model of a CPU: d = fma over k ascending, one f32 accumulator per
//! output, from +0, so the bits do not depend on blocking, threads or instruction set. Products
//! of two FP8 values are exact in f32.

use crate::{
    Contract::ExactGivenOrder,
    Kernel,
    kernel::{F32, FLOAT, FP8, OPERAND, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "gemm_f32",
        doc: "d[i, j] = the sum over p of a[i, p] * b[j, p], rounded to d's type: one accumulator, from +0, fma over p ascending. \
              a is [m, k], or [k, m] if bit 0 of layout is set; b is [n, k], or [k, n] if bit 1 is; d is [m, n].",
        contract: ExactGivenOrder,
        params: &[
            read("a", OPERAND),
            read("b", OPERAND),
            write("d", FLOAT),
            u32("m"),
            u32("n"),
            u32("k"),
            u32("layout"),
        ],
    },
    Kernel {
        name: "gemm_scaled_f32",
        doc: "y = RN(acc * alpha) with alpha = RN(a_scale_inv[0] * b_scale_inv[0]) and acc the accumulator of `gemm_f32`; d = y rounded to \
              d's type. Both operands are K-contiguous: a [m, k], b [n, k]; d is [m, n].",
        contract: ExactGivenOrder,
        params: &[
            read("a", FP8),
            read("a_scale_inv", F32),
            read("b", FP8),
            read("b_scale_inv", F32),
            write("d", FLOAT),
            u32("m"),
            u32("n"),
            u32("k"),
        ],
    },
];
