//! `bf16`: mixed precision as in Megatron-LM, 18 bytes a parameter. The baseline.

use fp8lm_device::DType::{BF16, F32};

use super::fp32;
use crate::{Format, Gemm, Precision, Recipe, Wire};

pub(super) fn recipe() -> Recipe {
    Recipe {
        name: "bf16".into(),
        activations: BF16,
        linears: mixed(),
        rest: mixed(),
        overrides: Vec::new(),
        wire: Wire::default(),
    }
}

/// BF16 working weights over f32 masters, gradients and moments: what every mixed recipe does
/// with embedding, head and norms.
pub(super) fn mixed() -> Precision {
    Precision {
        gemm: Gemm::Plain,
        working: Some(BF16),
        gradient: fp32::gradient(),
        master: Format::plain(F32),
        first_moment: Format::plain(F32),
        second_moment: Format::plain(F32),
        stochastic: Vec::new(),
    }
}
