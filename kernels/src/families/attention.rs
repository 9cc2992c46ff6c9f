//! Causal attention in blocks, forward and backward, never with the whole matrix of scores.
//!
//! Tokens lie as [batch, context]; q, k and v interleaved as qkv [tokens, 3, heads, head_dim].
//! dot(a, b, c) is a chain of fma over the summed index ascending, from c. All operands and
//! results have the type of qkv ("rounded" below means to that type); everything else is f32.
//! Key and query blocks are of 64, the last filled up with masked rows of +0. A masked pair has
//! p = ds = +0 and keeps its place in every sum and chain. exp and log are the project's own
//! (`docs/numerics.md`).

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Kernel,
    kernel::{F32, FLOAT, f32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "attention",
        doc: "Per query, start m = -Inf, l = o = +0; key blocks ascending, wholly masked ones skipped: s = RN(dot(q, k, 0) * softmax_scale); \
              m' = max of m and the unmasked s, NaN losing; alpha = exp(m - m'); p = exp(s - m'); l = RN(RN(l * alpha) + canonical sum of p); \
              o = dot over the block of (rounded p, v) from RN(o * alpha). \
              Then o = rounded RN(o / l) [tokens, heads, head_dim] and lse = RN(m + log l) [tokens, heads].",
        contract: ExactGivenOrder,
        params: &[
            read("qkv", FLOAT),
            write("o", FLOAT),
            write("lse", F32),
            u32("batch"),
            u32("context"),
            u32("heads"),
            u32("head_dim"),
            f32("softmax_scale"),
        ],
        code: Code::Library,
    },
    Kernel {
        name: "attention_backward",
        doc: "Writes dqkv like qkv. D = canonical sum of RN(o * do) over head_dim; p = exp(RN(s - lse)) with s as in `attention`; \
              dp = dot(do, v, 0); ds = rounded RN(RN(p * RN(dp - D)) * softmax_scale). dv and dk: per key, query blocks ascending, chained \
              dots of (rounded p, do) and (ds, q); dq: per query, key blocks ascending, chained dots of (ds, k).",
        contract: ExactGivenOrder,
        params: &[
            read("do", FLOAT),
            read("qkv", FLOAT),
            read("o", FLOAT),
            read("lse", F32),
            write("dqkv", FLOAT),
            u32("batch"),
            u32("context"),
            u32("heads"),
            u32("head_dim"),
            f32("softmax_scale"),
        ],
        code: Code::Library,
    },
];
