//! Fills, conversions without a scale, transpositions, sums of two tensors.

use fp8lm_device::{
    DType::{BF16, E4M3, E5M2, F16, F32, F64, U8, U32, U64},
    Result,
};

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, groups, turned_tiles},
    kernel::{FLOAT, STATE, f32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "fill",
        doc: "y[i] = value, rounded as by `cast`; f64 takes the value exactly, counters take whole values below 2^bits alone.",
        contract: Exact,
        params: &[write("y", &[F32, BF16, F16, E4M3, E5M2, F64, U32, U64]), f32("value")],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "fill", block: BLOCK, grid: fill_blocks }],
            check: check_fill,
            scratch: None,
        }),
    },
    Kernel {
        name: "cast",
        doc: "y[i] = x[i], rounded once to nearest-even; FP8 saturates, the others overflow to Inf.",
        contract: Exact,
        params: &[read("x", STATE), write("y", STATE)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "cast", block: BLOCK, grid: |e| groups(e.elements(1)) }],
            check: |e| e.expect(0, e.elements(1)),
            scratch: None,
        }),
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
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "transpose",
                block: BLOCK,
                grid: |e| turned_tiles(e.extent(2), e.extent(3)),
            }],
            check: check_transpose,
            scratch: None,
        }),
    },
    Kernel {
        name: "add",
        doc: "y[i] = RN(a[i] + b[i]) in f32, then rounded to y's type.",
        contract: Exact,
        params: &[read("a", FLOAT), read("b", FLOAT), write("y", FLOAT)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "add", block: BLOCK, grid: |e| groups(e.elements(2)) }],
            check: |e| e.expect_all(&[(0, e.elements(2)), (1, e.elements(2))]),
            scratch: None,
        }),
    },
];

/// 16 bytes a thread.
fn fill_blocks(e: &Extents<'_>) -> usize {
    (e.elements(0) * e.dtype(0).bytes()).div_ceil(16 * BLOCK as usize)
}

/// Refuses what is no count where one is written.
fn check_fill(e: &Extents<'_>) -> Result<()> {
    let (value, bits) = (e.f32(1), 8 * e.dtype(0).bytes());
    let is_count = e.dtype(0) == U32 || e.dtype(0) == U64;
    let fits = value.fract() == 0.0 && value >= 0.0 && value < (1u128 << bits) as f32;
    if fits || !is_count {
        return Ok(());
    }
    Err(e.invalid(1, format!("a whole number below 2^{bits}"), value.to_string()))
}

fn check_transpose(e: &Extents<'_>) -> Result<()> {
    if e.dtype(0) != e.dtype(1) {
        return Err(e.invalid(0, e.dtype(1).to_string(), e.dtype(0).to_string()));
    }
    let n = e.extent(2) * e.extent(3);
    e.expect_all(&[(0, n), (1, n)])
}
