//! The families of kernels; `families/x.rs` has its twin in the emulator's `twins/x.rs`.

use crate::Kernel;

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
mod reduce;
mod rope;
mod scale;
mod stochastic;

pub(crate) const ALL: &[&[Kernel]] = &[
    activation::KERNELS,
    adamw::KERNELS,
    attention::KERNELS,
    blocks::KERNELS,
    cast::KERNELS,
    cross_entropy::KERNELS,
    embedding::KERNELS,
    gemm::KERNELS,
    gradient::KERNELS,
    groups::KERNELS,
    norm::KERNELS,
    quantize::KERNELS,
    reduce::KERNELS,
    rope::KERNELS,
    scale::KERNELS,
    stochastic::KERNELS,
];
