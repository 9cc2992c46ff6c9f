//! `fp8lm-1`, `fp8lm-2`, `fp8lm-3`: the three levels of FP8-LM (arXiv 2310.18313, section 2;
//! windows and formats as its authors' code has them). 11, 6 and 7 bytes a parameter.

use fp8lm_device::DType::{self, BF16, E4M3, E5M2, F16, F32};
use fp8lm_ops::{Accumulate, ScaleRule};

use super::bf16;
use crate::{
    Accumulation, Cast, Casts, Format, Gemm, GradientFormat, HeadRoom, Precision, Recipe, Scaling,
    Wire,
};

/// Steps whose amaxes the scale of an input or an output gradient is made from.
const WINDOW: usize = 16;

/// FP8 multiplications and gradients.
pub(super) fn level_1() -> Recipe {
    let linears = Precision {
        gemm: Gemm::Fp8(Casts {
            input: cast(E4M3, Scaling::Delayed(WINDOW)),
            weight: cast(E4M3, Scaling::JustInTime),
            output_gradient: cast(E5M2, Scaling::Delayed(WINDOW)),
            attention_output: None,
            accumulate: Accumulate::F32,
        }),
        working: None,
        gradient: GradientFormat {
            format: Format::pow2(E4M3),
            head_room: HeadRoom::Auto,
            accumulation: Accumulation::Native,
        },
        master: Format::pow2(F16),
        first_moment: Format::plain(F32),
        second_moment: Format::plain(F32),
        stochastic: Vec::new(),
    };
    let (rest, overrides) = (bf16::mixed(), Vec::new());
    Recipe {
        name: "fp8lm-1".into(),
        activations: BF16,
        linears,
        rest,
        overrides,
        wire: Wire::default(),
    }
}

/// And FP8 first moments, FP16 second moments.
pub(super) fn level_2() -> Recipe {
    let mut recipe = level_1();
    recipe.name = "fp8lm-2".into();
    recipe.linears.first_moment = Format::pow2(E4M3);
    recipe.linears.second_moment = Format::pow2(F16);
    recipe
}

/// And FP8 working weights.
pub(super) fn level_3() -> Recipe {
    let mut recipe = level_2();
    recipe.name = "fp8lm-3".into();
    recipe.linears.working = Some(E4M3);
    recipe
}

fn cast(format: DType, scaling: Scaling) -> Cast {
    Cast::tensor(format, scaling, ScaleRule::Pow2)
}
