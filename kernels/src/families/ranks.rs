//! What collectives compute: values of several ranks reduced, with one rounding or with one at each hop, and counts.
//!
//! In minima and maxima NaN loses to a number, and -0 is below +0.

use crate::{
    Code,
    Contract::{Exact, ExactGivenOrder},
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, groups},
    kernel::{F32, FP8, STATE, U64, read, u32, update, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "reduce_ranks",
        doc: "code [ranks, n], y [n]: with x[r] = code[r, i], decoded, and r ascending, s = the plain sum of x from +0 (op 0), each partial \
              sum rounded to f32, or their product from 1 (op 1), or their minimum (op 2) or maximum (op 3); y[i] = RN(s * scale[0]), rounded \
              to y's type, FP8 saturating.",
        contract: ExactGivenOrder,
        params: &[
            read("code", STATE),
            read("scale", F32),
            write("y", STATE),
            u32("ranks"),
            u32("op"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "reduce_ranks",
                block: BLOCK,
                grid: |e| groups(e.elements(2)),
            }],
            check: |e| {
                operation(e, 4)?;
                some_ranks(e, 3)?;
                e.expect_all(&[(0, e.extent(3).saturating_mul(e.elements(2))), (1, 1)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "amax_ranks",
        doc: "code [ranks, n]: amax[0] becomes the larger of itself and the amax of s, as reduce_ranks has it.",
        contract: ExactGivenOrder,
        params: &[read("code", STATE), update("amax", F32), u32("ranks"), u32("op")],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "amax_ranks",
                block: BLOCK,
                grid: |e| groups(e.elements(0) / e.extent(2).max(1)).max(1),
            }],
            check: |e| {
                operation(e, 3)?;
                some_ranks(e, 2)?;
                let rows = e.elements(0) / e.extent(2) * e.extent(2);
                e.expect_all(&[(0, rows), (1, 1)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "combine",
        doc: "y[i] = RNE(a[i] + b[i]) (op 0), or of their product (op 1), minimum (op 2) or maximum (op 3), decoded, in f32, FP8 saturating; \
              all of one format. It is one hop of a ring or a tree, in FP8 as NCCL has it.",
        contract: Exact,
        params: &[read("a", STATE), read("b", STATE), write("y", STATE), u32("op")],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "combine", block: BLOCK, grid: |e| groups(e.elements(2)) }],
            check: |e| {
                operation(e, 3)?;
                for index in [0, 1] {
                    if e.dtype(index) != e.dtype(2) {
                        let [want, got] = [2, index].map(|index| e.dtype(index).to_string());
                        return Err(e.invalid(index, want, got));
                    }
                }
                e.expect_all(&[(0, e.elements(2)), (1, e.elements(2))])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "sum_counts",
        doc: "x [ranks, n], y [n]: y[i] = the sum of x[r, i], modulo 2^64.",
        contract: Exact,
        params: &[read("x", U64), write("y", U64), u32("ranks")],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "sum_counts",
                block: BLOCK,
                grid: |e| e.elements(1).div_ceil(BLOCK as usize),
            }],
            check: |e| e.expect(0, e.extent(2).saturating_mul(e.elements(1))),
            scratch: None,
        }),
    },
    Kernel {
        name: "count_largest",
        doc: "largest[0] += the number of code[i] whose magnitude is the format's largest finite value.",
        contract: Exact,
        params: &[read("code", FP8), update("largest", U64)],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "count_largest",
                block: BLOCK,
                grid: |e| groups(e.elements(0)),
            }],
            check: |e| e.expect(1, 1),
            scratch: None,
        }),
    },
];

fn some_ranks(e: &Extents<'_>, index: usize) -> fp8lm_device::Result<()> {
    match e.extent(index) {
        0 => Err(e.invalid(index, "at least 1".into(), "0".into())),
        _ => Ok(()),
    }
}

fn operation(e: &Extents<'_>, index: usize) -> fp8lm_device::Result<()> {
    match e.extent(index) {
        0..=3 => Ok(()),
        other => Err(e.invalid(index, "0, 1, 2 or 3".into(), other.to_string())),
    }
}
