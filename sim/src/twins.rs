//! The emulator's table: for every kernel its twin, in the file of its family.

use std::{collections::HashMap, sync::LazyLock};

use fp8lm_device::Result;

use crate::{args::Args, workers::Workers};

mod activation;
mod adamw;
mod attention;
mod blocks;
mod cast;
mod cross_entropy;
mod embedding;
mod gemm;
mod gradient;
mod groups;
mod norm;
mod quantize;
mod ranks;
mod reduce;
mod rope;
mod scale;
mod stochastic;

/// A kernel on the CPU. The arguments were checked against the table of kernels; the twin checks
/// their lengths as it takes them.
pub(crate) type Twin = fn(&mut Args<'_>, &Workers) -> Result<()>;

/// The twin of the kernel of that name.
pub(crate) fn find(kernel: &str) -> Option<Twin> {
    static TABLE: LazyLock<HashMap<&'static str, Twin>> =
        LazyLock::new(|| FAMILIES.iter().flat_map(|family| family.iter().copied()).collect());
    TABLE.get(kernel).copied()
}

const FAMILIES: &[&[(&str, Twin)]] = &[
    activation::TWINS,
    adamw::TWINS,
    attention::TWINS,
    blocks::TWINS,
    cast::TWINS,
    cross_entropy::TWINS,
    embedding::TWINS,
    gemm::TWINS,
    gradient::TWINS,
    groups::TWINS,
    norm::TWINS,
    quantize::TWINS,
    ranks::TWINS,
    reduce::TWINS,
    rope::TWINS,
    scale::TWINS,
    stochastic::TWINS,
];
