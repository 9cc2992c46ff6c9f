//! Per-tensor quantisation: amax, scale, codes, and back.

use crate::{
    Code,
    Contract::Exact,
    Kernel,
    kernel::{F32, FLOAT, FP8, STATE, U32, U64, f32, read, u32, update, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "amax",
        doc: "amax[0] = max over i of abs(x[i]), NaN counting as +Inf; +0 for no elements.",
        contract: Exact,
        params: &[read("x", FLOAT), write("amax", F32)],
        code: Code::Library,
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
        code: Code::Library,
    },
    Kernel {
        name: "push_amax",
        doc: "history [window >= 1]: history[count[0] mod window] = amax[0], or 0 where it is not finite; then count[0] += 1 and amax[0] = 0.",
        contract: Exact,
        params: &[update("amax", F32), update("history", F32), update("count", U32)],
        code: Code::Library,
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
        code: Code::Library,
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
        code: Code::Library,
    },
    Kernel {
        name: "dequantize",
        doc: "y[i] = RN(decode(code[i]) * scale_inv[0]), then rounded to y's type.",
        contract: Exact,
        params: &[read("code", STATE), read("scale_inv", F32), write("y", FLOAT)],
        code: Code::Library,
    },
];
