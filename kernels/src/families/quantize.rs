//! Per-tensor quantisation: amax, scale, codes, and back.

use fp8lm_device::Result;

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, groups, rounds, turned_tiles},
    kernel::{F32, FLOAT, FP8, STATE, U32, U64, f32, read, u32, update, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "amax",
        doc: "amax[0] = max over i of abs(x[i]), NaN counting as +Inf; +0 for no elements.",
        contract: Exact,
        params: &[read("x", FLOAT), write("amax", F32)],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "amax_begin", block: 32, grid: |_| 1 },
                Entry { name: "amax", block: BLOCK, grid: |e| rounds(e.elements(0)) },
            ],
            check: |e| e.expect(1, 1),
            scratch: None,
        }),
    },
    Kernel {
        name: "scale_from_amax",
        doc: "From a = max over amaxes: scale[0] = RN(head[0] * scale(a, fp_max)), at most f32's maximum, scale_inv[0] = RN(1 / scale[0]). \
              scale(a, fp_max) is q = RN(fp_max / a) (rule 1, `exact`), or 2^floor(log2 q) with the exponent clamped to \
              [-126, 127] (rule 2, `pow2`), or 1 (rule 0); 1 where a is 0 or not finite; f32's maximum where q overflows.",
        contract: Exact,
        params: &[
            read("amaxes", F32),
            read("head", F32),
            write("scale", F32),
            write("scale_inv", F32),
            f32("fp_max"),
            u32("rule"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "scale_from_amax", block: BLOCK, grid: |_| 1 }],
            check: check_scale,
            scratch: None,
        }),
    },
    Kernel {
        name: "push_amax",
        doc: "history [window >= 1]: history[count[0] mod window] = amax[0], or 0 where it is not finite; then count[0] += 1 and amax[0] = 0.",
        contract: Exact,
        params: &[update("amax", F32), update("history", F32), update("count", U32)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "push_amax", block: 32, grid: |_| 1 }],
            check: check_push,
            scratch: None,
        }),
    },
    Kernel {
        name: "quantize",
        doc: "code[i] = SatRNE(RN(x[i] * scale[0])). amax[0] becomes the larger of itself and x's amax; counts[0] grows by \
              the elements with abs(RN(x * scale)) above the format's maximum, counts[1] by those not 0 before and 0 after.",
        contract: Exact,
        params: &[
            read("x", FLOAT),
            read("scale", F32),
            write("code", FP8),
            update("amax", F32),
            update("counts", U64),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "quantize",
                block: BLOCK,
                grid: |e| rounds(e.elements(2)).max(1),
            }],
            check: |e| e.expect_all(&[(0, e.elements(2)), (1, 1), (3, 1), (4, 2)]),
            scratch: None,
        }),
    },
    Kernel {
        name: "quantize_transpose",
        doc: "As `quantize` for x [rows, cols], with the same codes also as code_t [cols, rows], of code's type.",
        contract: Exact,
        params: &[
            read("x", FLOAT),
            read("scale", F32),
            write("code", FP8),
            write("code_t", FP8),
            update("amax", F32),
            update("counts", U64),
            u32("rows"),
            u32("cols"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "quantize_transpose",
                block: BLOCK,
                grid: |e| turned_tiles(e.extent(6), e.extent(7)).max(1),
            }],
            check: check_transpose,
            scratch: None,
        }),
    },
    Kernel {
        name: "dequantize",
        doc: "y[i] = RN(decode(code[i]) * scale_inv[0]), then rounded to y's type.",
        contract: Exact,
        params: &[read("code", STATE), read("scale_inv", F32), write("y", FLOAT)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "dequantize", block: BLOCK, grid: |e| groups(e.elements(2)) }],
            check: |e| e.expect_all(&[(0, e.elements(2)), (1, 1)]),
            scratch: None,
        }),
    },
];

fn check_scale(e: &Extents<'_>) -> Result<()> {
    e.expect(1, 1)?;
    check_rule(e, 5)?;
    e.expect_all(&[(2, 1), (3, 1)])
}

/// Refuses what is no number of a rule for scales.
fn check_rule(e: &Extents<'_>, index: usize) -> Result<()> {
    match e.extent(index) {
        0..=2 => Ok(()),
        other => Err(e.invalid(index, "0, 1 or 2".into(), other.to_string())),
    }
}

fn check_push(e: &Extents<'_>) -> Result<()> {
    if e.elements(1) == 0 {
        return Err(e.invalid(1, "at least one element".into(), "none".into()));
    }
    e.expect_all(&[(0, 1), (2, 1)])
}

fn check_transpose(e: &Extents<'_>) -> Result<()> {
    if e.dtype(3) != e.dtype(2) {
        return Err(e.invalid(3, e.dtype(2).to_string(), e.dtype(3).to_string()));
    }
    let n = e.extent(6) * e.extent(7);
    e.expect_all(&[(0, n), (1, 1), (2, n), (3, n), (4, 1), (5, 2)])
}
