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
mod ranks;
mod reduce;
mod rope;
mod scale;
mod stochastic;

/// The kernels whose entries have forms that take several launches at once, and the names of these in the order of the
/// entries. The forms are `many.cuh`'s.
pub(crate) const MANY: &[(&str, &[&str])] = adamw::MANY;

pub(crate) const ALL: &[(&str, &[Kernel])] = &[
    ("activation", activation::KERNELS),
    ("adamw", adamw::KERNELS),
    ("attention", attention::KERNELS),
    ("blocks", blocks::KERNELS),
    ("cast", cast::KERNELS),
    ("cross_entropy", cross_entropy::KERNELS),
    ("embedding", embedding::KERNELS),
    ("gemm", gemm::KERNELS),
    ("gradient", gradient::KERNELS),
    ("groups", groups::KERNELS),
    ("norm", norm::KERNELS),
    ("quantize", quantize::KERNELS),
    ("ranks", ranks::KERNELS),
    ("reduce", reduce::KERNELS),
    ("rope", rope::KERNELS),
    ("scale", scale::KERNELS),
    ("stochastic", stochastic::KERNELS),
];
