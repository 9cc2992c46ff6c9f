//! Accumulation of gradients over micro-batches, and automatic scaling.

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Kernel,
    code::{BLOCK, groups},
    kernel::{F32, FLOAT, FP8, U32, U64, read, u64, update},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "accumulate",
        doc: "y[i] = RN(y[i] + x[i]).",
        contract: Exact,
        params: &[read("x", FLOAT), update("y", F32)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "accumulate", block: BLOCK, grid: |e| groups(e.elements(1)) }],
            check: |e| e.expect(0, e.elements(1)),
            scratch: None,
        }),
    },
    Kernel {
        name: "accumulate_dequantized",
        doc: "y[i] = RN(y[i] + RN(decode(code[i]) * scale_inv[0])).",
        contract: Exact,
        params: &[read("code", FP8), read("scale_inv", F32), update("y", F32)],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "accumulate_dequantized",
                block: BLOCK,
                grid: |e| groups(e.elements(2)),
            }],
            check: |e| e.expect_all(&[(0, e.elements(2)), (1, 1)]),
            scratch: None,
        }),
    },
    Kernel {
        name: "auto_scale",
        doc: "FP8-LM's automatic scaling (section 2.1), over `casts` casts: where the larger of counts[0] and casts * largest[0] exceeds \
              1e-5 of elements, that is times 100000 is more than elements, mu[0] = mu[0] / 2, else mu[0] = RN(mu[0] * f32(2^(1/1000))); \
              then within [2^-16, 2^16]. Nothing changes where skip[0] is not 0.",
        contract: Exact,
        params: &[
            read("counts", U64),
            read("largest", U64),
            read("skip", U32),
            update("mu", F32),
            u64("elements"),
            u64("casts"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "auto_scale", block: 1, grid: |_| 1 }],
            check: |e| e.expect_all(&[(0, 2), (1, 1), (2, 1), (3, 1)]),
            scratch: None,
        }),
    },
];
