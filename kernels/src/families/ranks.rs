//! What collectives compute: FP8 codes of several ranks reduced, with one rounding or with one at each hop.
//!
//! In minima and maxima NaN loses to a number, and -0 is below +0.

use crate::{
    Code,
    Contract::{Exact, ExactGivenOrder},
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, groups},
    kernel::{F32, FP8, read, u32, update, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "reduce_ranks",
        doc: "code [ranks, n], y [n]: with x[r] = decode(code[r, i]) and r ascending, y[i] = the plain sum of x from +0 (op 0), each partial \
              sum rounded to f32, or their product from 1 (op 1), or their minimum (op 2) or maximum (op 3). amax[0] becomes the larger \
              of itself and y's amax.",
        contract: ExactGivenOrder,
        params: &[read("code", FP8), write("y", F32), update("amax", F32), u32("ranks"), u32("op")],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "reduce_ranks",
                block: BLOCK,
                grid: |e| groups(e.elements(1)).max(1),
            }],
            check: |e| {
                operation(e, 4)?;
                if e.extent(3) == 0 {
                    return Err(e.invalid(3, "at least 1".into(), "0".into()));
                }
                e.expect_all(&[(0, e.extent(3).saturating_mul(e.elements(1))), (2, 1)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "combine_codes",
        doc: "y[i] = SatRNE(a[i] + b[i]) (op 0), or of their product (op 1), minimum (op 2) or maximum (op 3), decoded, in f32; all of one \
              format. It is one hop of NCCL's FP8 reductions.",
        contract: Exact,
        params: &[read("a", FP8), read("b", FP8), write("y", FP8), u32("op")],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "combine_codes",
                block: BLOCK,
                grid: |e| groups(e.elements(2)),
            }],
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
];

fn operation(e: &Extents<'_>, index: usize) -> fp8lm_device::Result<()> {
    match e.extent(index) {
        0..=3 => Ok(()),
        other => Err(e.invalid(index, "0, 1, 2 or 3".into(), other.to_string())),
    }
}
