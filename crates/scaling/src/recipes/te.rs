//! `te`: FP8 in matrix multiplications alone, as Transformer Engine's delayed scaling has it,
//! 18 bytes a parameter.

use fp8lm_device::DType::{self, BF16, E4M3, E5M2};
use fp8lm_ops::{Accumulate, ScaleRule};

use super::bf16;
use crate::{Cast, Casts, Gemm, Precision, Recipe, Scaling, Wire};

/// Steps whose amaxes the scale is made from: Transformer Engine's default.
const WINDOW: usize = 1024;

pub(super) fn recipe() -> Recipe {
    let casts = Casts {
        input: cast(E4M3),
        weight: cast(E4M3),
        output_gradient: cast(E5M2),
        attention_output: None,
        accumulate: Accumulate::F32,
    };
    Recipe {
        name: "te".into(),
        activations: BF16,
        linears: Precision { gemm: Gemm::Fp8(casts), ..bf16::mixed() },
        rest: bf16::mixed(),
        overrides: Vec::new(),
        wire: Wire::default(),
    }
}

fn cast(format: DType) -> Cast {
    Cast::tensor(format, Scaling::Delayed(WINDOW), ScaleRule::Exact)
}
