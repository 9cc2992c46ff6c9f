//! The tensors that one rank has of a model: all of them, or its part under tensor and pipeline parallelism.

use fp8lm_device::DType;
use fp8lm_model::{ModelConfig, NormKind};
use fp8lm_scaling::{LINEAR, Labels, Linear, Precision, REST, Recipe, RecipeError};

/// A parameter, before there is a device.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Its name.
    pub name: String,
    /// Its elements, or of a tensor-parallel rank's part of them.
    pub elements: u64,
    /// Its formats.
    pub precision: Precision,
    /// What its memory is labelled with.
    pub labels: &'static Labels,
}

impl PlannedTensor {
    /// Bytes of one element by kind, in the order of [`Labels::all`].
    pub(super) fn bytes(&self) -> [u64; 5] {
        let Precision { gradient, master, first_moment, second_moment, .. } = &self.precision;
        let kept = [gradient.format, *master, *first_moment, *second_moment];
        let [gradient, master, first, second] = kept.map(|format| format.dtype.bytes());
        let working = self.precision.working.map_or(0, DType::bytes);
        [working, gradient, master, first, second].map(|bytes| bytes as u64)
    }
}

/// How a model is cut: ranks that share each tensor, and stages that share the blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) tensor: usize,
    pub(super) pipeline: usize,
}

impl Cut {
    /// None.
    pub(super) const WHOLE: Self = Self { tensor: 1, pipeline: 1 };
}

/// A rank's tensors, in the order of [`Gpt::parameters`](fp8lm_model::Gpt::parameters).
///
/// Tensor-parallel ranks share linears and tables, and have the norms whole. A pipeline's stage is the first, with the
/// last one's tensors as well: the most that a stage can have, and what the wire volumes that FP8-LM publishes are of.
pub(super) fn tensors(
    model: &ModelConfig,
    recipe: &Recipe,
    cut: Cut,
) -> Result<Vec<PlannedTensor>, RecipeError> {
    let rest = |name: String, elements: usize| PlannedTensor {
        name,
        elements: elements as u64,
        precision: recipe.rest.clone(),
        labels: &REST,
    };
    let table = |name: &str| rest(name.into(), model.vocabulary * model.width / cut.tensor);
    let norm = |name: String| {
        let parts: &[_] = match model.norm {
            NormKind::Rms => &["gain"],
            NormKind::Layer => &["gain", "shift"],
        };
        parts.iter().map(move |part| rest(format!("{name}.{part}"), model.width))
    };
    let linear = |block: usize, linear: Linear| {
        let [outputs, inputs] = model.linear_shape(linear).map(|extent| extent as u64);
        Ok(PlannedTensor {
            name: format!("blocks.{block}.{}", linear.name()),
            elements: outputs * inputs / cut.tensor as u64,
            precision: recipe.precision(block, linear)?,
            labels: &LINEAR,
        })
    };
    let mut tensors = vec![table("embedding")];
    for block in 0..model.layers / cut.pipeline {
        tensors.extend(norm(format!("blocks.{block}.norm1")));
        tensors.extend([linear(block, Linear::Qkv)?, linear(block, Linear::Proj)?]);
        tensors.extend(norm(format!("blocks.{block}.norm2")));
        tensors.extend([linear(block, Linear::Up)?, linear(block, Linear::Down)?]);
    }
    tensors.extend(norm("norm".into()));
    tensors.extend((!model.tied_head).then(|| table("head")));
    Ok(tensors)
}
