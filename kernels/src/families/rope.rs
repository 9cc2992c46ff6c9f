//! Rotary position embedding, on queries and keys in place.

use crate::{
    Code,
    Contract::Exact,
    Kernel,
    kernel::{F32, FLOAT, read, u32, update},
};

pub(super) const KERNELS: &[Kernel] = &[Kernel {
    name: "rope",
    doc: "qkv [tokens, 3, heads, head_dim]; tables cos, sin [context, head_dim / 2]; a row's position is its number mod context. For the first \
          two of the three, pairs (j, j + head_dim / 2): a' = RN(RN(a * cos) - RN(b * sin)), b' = RN(RN(b * cos) + RN(a * sin)); \
          with inverse = 1 the sine changes sign, which is the backward pass.",
    contract: Exact,
    params: &[
        update("qkv", FLOAT),
        read("cos", F32),
        read("sin", F32),
        u32("tokens"),
        u32("context"),
        u32("heads"),
        u32("head_dim"),
        u32("inverse"),
    ],
    code: Code::Library,
}];
