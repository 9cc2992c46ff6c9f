//! RMSNorm and LayerNorm, forward and backward.
//!
//! Per row of n columns, in f32, every step rounded once; sums over a row are canonical (see
//! `reduce`). Sums over rows per column go by chunks of 256 rows, plain ascending adds from +0
//! inside a chunk, chunk sums added by a binary tree over adjacent chunks, an odd one carried up.

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Kernel,
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
        code: Code::Library,
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
        code: Code::Library,
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
        code: Code::Library,
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
        code: Code::Library,
    },
];
