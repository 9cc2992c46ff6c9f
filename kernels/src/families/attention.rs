//! Causal attention in blocks, forward and backward, never with the whole matrix of scores.
//!
//! Tokens lie as [batch, context]; q, k and v interleaved as qkv [tokens, 3, heads, head_dim].
//! dot(a, b, c) is a chain of fma over the summed index ascending, from c. All operands and
//! results have the type of qkv ("rounded" below means to that type); everything else is f32.
//! Key and query blocks are of 64, the last filled up with masked rows of +0. A masked pair has
//! p = ds = +0 and keeps its place in every sum and chain. exp and log are the project's own
//! (`docs/numerics.md`).

use fp8lm_device::Result;

use crate::{
    Code,
    Contract::ExactGivenOrder,
    Cuda, Entry, Extents, Kernel,
    code::BLOCK,
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
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "attention", block: BLOCK, grid: |e| blocks(e, 3) }],
            check: |e| {
                let Lengths { rows, elements, qkv } = lengths(e, 3)?;
                e.expect_all(&[(0, qkv), (1, elements), (2, rows)])
            },
            scratch: None,
        }),
    },
    Kernel {
        name: "attention_backward",
        doc: "Writes dqkv like qkv. D = canonical sum of RN(o * d_o) over head_dim; p = exp(RN(s - lse)) with s as in `attention`; \
              dp = dot(d_o, v, 0); ds = rounded RN(RN(p * RN(dp - D)) * softmax_scale). dv and dk: per key, query blocks ascending, chained \
              dots of (rounded p, d_o) and (ds, q); dq: per query, key blocks ascending, chained dots of (ds, k).",
        contract: ExactGivenOrder,
        params: &[
            read("d_o", FLOAT),
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
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "attention_backward_queries", block: BLOCK, grid: |e| blocks(e, 5) },
                Entry { name: "attention_backward_keys", block: BLOCK, grid: |e| blocks(e, 5) },
            ],
            check: |e| {
                let Lengths { rows, elements, qkv } = lengths(e, 5)?;
                e.expect_all(&[(0, elements), (1, qkv), (2, elements), (3, rows), (4, qkv)])
            },
            // D of every query.
            scratch: Some(|e| 4 * e.elements(3)),
        }),
    },
];

/// How long tensors are.
struct Lengths {
    /// lse [tokens, heads].
    rows: usize,
    /// o [tokens, heads, head_dim].
    elements: usize,
    /// qkv [tokens, 3, heads, head_dim].
    qkv: usize,
}

/// The lengths that the four extents from `first` on ask for.
fn lengths(e: &Extents<'_>, first: usize) -> Result<Lengths> {
    let [batch, context, heads, head_dim] = [0, 1, 2, 3].map(|i| e.extent(first + i));
    if !(1..=WIDEST).contains(&head_dim) {
        return Err(e.invalid(first + 3, format!("1 to {WIDEST}"), head_dim.to_string()));
    }
    let rows = (batch * heads).saturating_mul(context);
    let elements = rows.saturating_mul(head_dim);
    Ok(Lengths { rows, elements, qkv: elements.saturating_mul(3) })
}

/// One for every 64 positions of every head and sequence, and 128 columns.
fn blocks(e: &Extents<'_>, first: usize) -> usize {
    let [batch, context, heads, head_dim] = [0, 1, 2, 3].map(|i| e.extent(first + i));
    batch * heads * context.div_ceil(POSITIONS) * head_dim.div_ceil(COLUMNS)
}

/// Elements of a head at most: D is one chunk of a canonical sum.
const WIDEST: usize = 65_536;
/// Positions of a block, as in `attention.cuh`.
const POSITIONS: usize = 64;
/// Columns of results that a block of threads has, as in `attention.cuh`.
const COLUMNS: usize = 128;
