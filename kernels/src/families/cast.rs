//! Fills, conversions without a scale, transpositions, sums of two tensors.

use fp8lm_device::DType::{BF16, E4M3, E5M2, F16, F32, F64, U8, U32, U64};

use crate::{
    Code,
    Contract::Exact,
    Kernel,
    kernel::{FLOAT, STATE, f32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "fill",
        doc: "y[i] = value, rounded as by `cast`; f64 takes the value exactly, counters take whole values below 2^bits alone.",
        contract: Exact,
        params: &[write("y", &[F32, BF16, F16, E4M3, E5M2, F64, U32, U64]), f32("value")],
        code: Code::Library,
    },
    Kernel {
        name: "cast",
        doc: "y[i] = x[i], rounded once to nearest-even; FP8 saturates, the others overflow to Inf.",
        contract: Exact,
        params: &[read("x", STATE), write("y", STATE)],
        code: Code::Library,
    },
    Kernel {
        name: "transpose",
        doc: "y[c, r] = x[r, c] for x [rows, cols].",
        contract: Exact,
        params: &[
            read("x", &[F32, BF16, F16, E4M3, E5M2, U8]),
            write("y", &[F32, BF16, F16, E4M3, E5M2, U8]),
            u32("rows"),
            u32("cols"),
        ],
        code: Code::Library,
    },
    Kernel {
        name: "add",
        doc: "y[i] = RN(a[i] + b[i]) in f32, then rounded to y's type.",
        contract: Exact,
        params: &[read("a", FLOAT), read("b", FLOAT), write("y", FLOAT)],
        code: Code::Library,
    },
];
