//! What all ranks send in a step.

use fp8lm_model::Part;
use fp8lm_parallel::{FP8_GRADIENTS, GRADIENTS, WEIGHTS};
use fp8lm_scaling::Recipe;

use super::{
    activations,
    holding::Holding,
    sharing::Sharing,
    stages::Stages,
    tensors::Tensors,
    wire::{self, PlannedTraffic, UNCOUNTED, Volume},
};
use crate::config::{Config, ConfigError, ParallelConfig};

/// By kind, of all ranks together.
pub(super) fn of_a_step(
    holdings: &[Holding],
    stages: &Stages,
    config: &Config,
    recipe: &Recipe,
) -> Result<Vec<PlannedTraffic>, ConfigError> {
    let mut kinds = [FP8_GRADIENTS, GRADIENTS, WEIGHTS].map(|label| PlannedTraffic {
        label,
        bytes: Some(0),
        bf16: 0,
    });
    for (place, Holding { tensors, sharing, .. }) in holdings.iter().enumerate() {
        // Places with the same weights are one group.
        if stages.mirrors(place).first() == Some(&place) {
            let group = wire::traffic(tensors, sharing, config.parallel.deterministic);
            for (kind, of_group) in kinds.iter_mut().zip(&group) {
                kind.join(of_group, config.parallel.tensor as u64);
            }
        }
    }
    kinds[1].join(&activations::norms(config), 1);
    let activations = activations::of_a_step(config, recipe, stages)?;
    Ok(kinds.into_iter().chain(activations).chain([UNCOUNTED]).collect())
}

/// Of one rank, as FP8-LM counts.
pub(super) fn published(tensors: &Tensors, config: &Config) -> Result<Volume, ConfigError> {
    let ParallelConfig { data, tensor, pipeline, zero, partition, deterministic, .. } =
        config.parallel;
    let part = Part { blocks: 0..config.model.layers / pipeline, first: true, last: true };
    let mut tensors = tensors.of(&[part], tensor);
    let sharing = Sharing::new(&mut tensors, data, zero, partition)?;
    Ok(Volume::of(&wire::traffic(&tensors, &sharing, deterministic), data as u64))
}
