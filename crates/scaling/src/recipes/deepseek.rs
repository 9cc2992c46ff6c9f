//! `deepseek-v3`: inputs and output gradients in tiles, weights in blocks (DeepSeek-V3, arXiv
//! 2412.19437, section 3.3), 13 bytes a parameter.

use fp8lm_device::DType::{BF16, E4M3, F32};
use fp8lm_ops::{Accumulate, ScaleRule};

use super::{bf16, fp32};
use crate::{
    Cast, Casts, Columns, Format, Gemm, Granularity, Precision, Recipe, Scaling, Source, Wire,
};

pub(super) fn recipe() -> Recipe {
    let casts = Casts {
        input: tiles(),
        weight: Cast { granularity: Granularity::Block, columns: None, ..tiles() },
        output_gradient: tiles(),
        attention_output: Some(Source::E5m6),
        accumulate: Accumulate::F32,
    };
    let linears = Precision {
        gemm: Gemm::Fp8(casts),
        working: Some(E4M3),
        gradient: fp32::gradient(),
        master: Format::plain(F32),
        first_moment: Format::plain(BF16),
        second_moment: Format::plain(BF16),
        stochastic: Vec::new(),
    };
    let (rest, overrides) = (bf16::mixed(), Vec::new());
    Recipe {
        name: "deepseek-v3".into(),
        activations: BF16,
        linears,
        rest,
        overrides,
        wire: Wire::default(),
    }
}

fn tiles() -> Cast {
    Cast {
        format: E4M3,
        granularity: Granularity::Tile,
        scaling: Scaling::JustInTime,
        rule: ScaleRule::Exact,
        columns: Some(Columns { format: E4M3, from: Source::Codes }),
    }
}
