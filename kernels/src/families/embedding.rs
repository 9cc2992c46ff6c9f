//! Token embedding: rows of a table, and the sum of gradients per row.

use crate::{
    Code,
    Contract::{Exact, ExactGivenOrder},
    Kernel,
    kernel::{F32, FLOAT, U32, read, u32, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "embedding",
        doc: "y[t] = table[tokens[t]] for table [vocabulary, cols]. A token outside the vocabulary gives a row of NaN.",
        contract: Exact,
        params: &[read("tokens", U32), read("table", FLOAT), write("y", FLOAT), u32("cols")],
        code: Code::Library,
    },
    Kernel {
        name: "embedding_backward",
        doc: "dtable[w] = the plain sum from +0 of dy[t] over the t with tokens[t] = w, t ascending. A token outside the vocabulary is passed over.",
        contract: ExactGivenOrder,
        params: &[read("tokens", U32), read("dy", FLOAT), write("dtable", F32), u32("cols")],
        code: Code::Library,
    },
];
