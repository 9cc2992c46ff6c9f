//! Quantisation in groups whose range is expanded (COAT, arXiv 2410.19313).

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Kernel,
    code::{BLOCK, groups},
    kernel::{F32, FLOAT, FP8, read, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "quantize_groups",
        doc: "x, code [n], scale [ceil(n / 128), 2]. For each group of 128 consecutive elements, the last one of fewer, with a = amax(x), \
              b the smallest abs(x) that is not 0 and fp_max the format's maximum: k = clamp(floor(C / log(a / b)), 1, 1024) / 8 with C \
              0x42C57D69 for E4M3 and 0x4330609F for E5M2; but a = fp_max and k = 1 where amax(x) is 0 or not finite. scale[group] = \
              (a, k); code = SatRNE(fp_max * exp(k * log(abs(x) / a))) with the sign of x. Each operation rounds once; exp and log \
              are those of the documentation.",
        contract: Exact,
        params: &[read("x", FLOAT), write("code", FP8), write("scale", F32)],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "quantize_groups",
                block: BLOCK,
                grid: |e| groups(e.elements(1)),
            }],
            check: |e| {
                e.expect_all(&[(0, e.elements(1)), (2, 2 * e.elements(1).div_ceil(EXPANDED))])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "dequantize_groups",
        doc: "The inverse of `quantize_groups`: with (a, k) = scale[group], y = a * exp((1 / k) * log(abs(code) / fp_max)) with the \
              sign of code, each operation rounded once, then rounded to y's type.",
        contract: Exact,
        params: &[read("code", FP8), read("scale", F32), write("y", FLOAT)],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "dequantize_groups",
                block: BLOCK,
                grid: |e| groups(e.elements(2)),
            }],
            check: |e| {
                e.expect_all(&[(0, e.elements(2)), (1, 2 * e.elements(2).div_ceil(EXPANDED))])
            },
            scratch: None,
        }),
    },
];

/// Elements of a group.
const EXPANDED: usize = 128;
