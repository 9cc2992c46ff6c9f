//! The cases of every family of kernels, in the file of its name.

use crate::Case;

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

/// Every case.
pub fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(|family| family()).collect()
}

const FAMILIES: &[fn() -> Vec<Case>] = &[
    activation::cases,
    adamw::cases,
    attention::cases,
    blocks::cases,
    cast::cases,
    cross_entropy::cases,
    embedding::cases,
    gemm::cases,
    gradient::cases,
    groups::cases,
    norm::cases,
    quantize::cases,
    ranks::cases,
    reduce::cases,
    rope::cases,
    scale::cases,
    stochastic::cases,
];
