//! `fp32`: single precision throughout, 16 bytes a parameter.

use fp8lm_device::DType::F32;

use crate::{Accumulation, Format, Gemm, GradientFormat, HeadRoom, Precision, Recipe, Wire};

pub(super) fn recipe() -> Recipe {
    Recipe {
        name: "fp32".into(),
        activations: F32,
        linears: single(),
        rest: single(),
        overrides: Vec::new(),
        wire: Wire::default(),
    }
}

fn single() -> Precision {
    Precision {
        gemm: Gemm::Plain,
        working: None,
        gradient: gradient(),
        master: Format::plain(F32),
        first_moment: Format::plain(F32),
        second_moment: Format::plain(F32),
        stochastic: Vec::new(),
    }
}

/// A gradient that needs no scale.
pub(super) fn gradient() -> GradientFormat {
    GradientFormat {
        format: Format::plain(F32),
        head_room: HeadRoom::Post,
        accumulation: Accumulation::F32,
    }
}
