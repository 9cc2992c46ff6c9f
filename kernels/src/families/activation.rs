//! Activation functions of the feed-forward network.
//!
//! exp and tanh are the project's own polynomials (`docs/numerics.md`).

use crate::{
    Code,
    Contract::Exact,
    Kernel,
    kernel::{FLOAT, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "gelu",
        doc: "The tanh form: y = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))); order of operations in `docs/numerics.md`.",
        contract: Exact,
        params: &[read("x", FLOAT), write("y", FLOAT)],
        code: Code::Library,
    },
    Kernel {
        name: "gelu_backward",
        doc: "dx = dy times the derivative of `gelu` at x; order of operations in `docs/numerics.md`.",
        contract: Exact,
        params: &[read("dy", FLOAT), read("x", FLOAT), write("dx", FLOAT)],
        code: Code::Library,
    },
    Kernel {
        name: "swiglu",
        doc: "x [rows, 2 cols] holds gate and up side by side; y [rows, cols] = RN(silu(gate) * up), silu(g) = RN(g / RN(1 + exp(-g))).",
        contract: Exact,
        params: &[read("x", FLOAT), write("y", FLOAT), u32("rows"), u32("cols")],
        code: Code::Library,
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
        code: Code::Library,
    },
];
