//! Rotary position embedding, on queries and keys in place.

use fp8lm_device::Result;

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, row_groups},
    kernel::{F32, FLOAT, read, u32, update},
};

pub(super) const KERNELS: &[Kernel] = &[Kernel {
    name: "rope",
    doc: "qkv [tokens, 3, heads, head_dim]; tables cos, sin [context, head_dim / 2], head_dim even; a row's position is its number mod context. For the first \
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
    code: Code::Cuda(Cuda {
        entries: &[Entry { name: "rope", block: BLOCK, grid }],
        check,
        scratch: None,
    }),
}];

/// A thread takes up to eight pairs of one head.
fn grid(e: &Extents<'_>) -> usize {
    row_groups(2 * e.extent(3) * e.extent(5), e.extent(6) / 2)
}

fn check(e: &Extents<'_>) -> Result<()> {
    let [tokens, context, heads, head_dim] = [3, 4, 5, 6].map(|index| e.extent(index));
    if tokens > 0 && context == 0 {
        return Err(e.invalid(4, "at least one position".into(), "0".into()));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(e.invalid(6, "an even number".into(), head_dim.to_string()));
    }
    let table = context * (head_dim / 2);
    let qkv = (tokens * heads).saturating_mul(3).saturating_mul(head_dim);
    e.expect_all(&[(1, table), (2, table), (0, qkv)])
}
