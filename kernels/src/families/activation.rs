//! Activation functions of the feed-forward network.
//!
//! exp and tanh are the project's own polynomials (`docs/numerics.md`).

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, groups, row_groups},
    kernel::{FLOAT, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "gelu",
        doc: "The tanh form: y = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))); order of operations in `docs/numerics.md`.",
        contract: Exact,
        params: &[read("x", FLOAT), write("y", FLOAT)],
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "gelu", block: BLOCK, grid: |e| groups(e.elements(1)) }],
            check: |e| e.expect(1, e.elements(0)),
            scratch: None,
        }),
    },
    Kernel {
        name: "gelu_backward",
        doc: "dx = dy times the derivative of `gelu` at x; order of operations in `docs/numerics.md`.",
        contract: Exact,
        params: &[read("dy", FLOAT), read("x", FLOAT), write("dx", FLOAT)],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "gelu_backward",
                block: BLOCK,
                grid: |e| groups(e.elements(2)),
            }],
            check: |e| e.expect_all(&[(1, e.elements(0)), (2, e.elements(0))]),
            scratch: None,
        }),
    },
    Kernel {
        name: "swiglu",
        doc: "x [rows, 2 cols] holds gate and up side by side; y [rows, cols] = RN(silu(gate) * up), silu(g) = RN(g / RN(1 + exp(-g))).",
        contract: Exact,
        params: &[read("x", FLOAT), write("y", FLOAT), u32("rows"), u32("cols")],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "swiglu",
                block: BLOCK,
                grid: |e| row_groups(e.extent(2), e.extent(3)),
            }],
            check: |e| {
                let half = half(e, 2);
                e.expect_all(&[(0, half.saturating_mul(2)), (1, half)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "swiglu_backward",
        doc: "dx [rows, 2 cols] from dy [rows, cols] and the forward pass's x. With sigma = RN(1 / RN(1 + exp(-gate))): \
              dgate = RN(RN(dy * up) * RN(sigma + RN(silu(gate) * RN(1 - sigma)))), dup = RN(dy * silu(gate)).",
        contract: Exact,
        params: &[
            read("dy", FLOAT),
            read("x", FLOAT),
            write("dx", FLOAT),
            u32("rows"),
            u32("cols"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[Entry {
                name: "swiglu_backward",
                block: BLOCK,
                grid: |e| row_groups(e.extent(3), e.extent(4)),
            }],
            check: |e| {
                let half = half(e, 3);
                let all = half.saturating_mul(2);
                e.expect_all(&[(0, half), (1, all), (2, all)])
            },
            scratch: None,
        }),
    },
];

/// Gates, or ups, of as many rows and columns as the extents from `first` on.
fn half(e: &Extents<'_>, first: usize) -> usize {
    e.extent(first).saturating_mul(e.extent(first + 1))
}
