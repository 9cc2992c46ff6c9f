//! What the ranks of a pipeline keep of micro-batches between forward and backward passes.

use fp8lm_model::{Part, StashBytes, StashPlan};
use fp8lm_scaling::{Recipe, RecipeError};

use super::stages::Stages;
use crate::config::Config;

/// Bytes that a rank keeps at most, of each place along the pipeline: of as many micro-batches as its schedule holds,
/// at the one of its stages that keeps most.
pub(super) fn by_place(
    config: &Config,
    recipe: &Recipe,
    stages: &Stages,
) -> Result<Vec<u64>, RecipeError> {
    let parallel = &config.parallel;
    let stash = StashPlan {
        config: &config.model,
        recipe,
        recompute: config.run.recompute,
        tokens: config.tokens_of_a_rank(),
        members: parallel.tensor,
        sequence: parallel.shares_tokens(),
    };
    let shape = parallel.shape(config.data.micro_batches);
    let place = |place: usize| {
        let kept = stages
            .parts(place)
            .iter()
            .map(|part| of(&stash, part))
            .collect::<Result<Vec<_>, _>>()?;
        let held = parallel.schedule.peak_activations(shape, place) as u64;
        Ok(held.saturating_mul(kept.into_iter().max().unwrap_or(0)))
    };
    (0..shape.ranks).map(place).collect()
}

/// Bytes of one micro-batch at one stage.
fn of(stash: &StashPlan<'_>, part: &Part) -> Result<u64, RecipeError> {
    let blocks = part.blocks.clone().map(|block| stash.block(block));
    let blocks: StashBytes = blocks.sum::<Result<_, _>>()?;
    let tail = if part.last { stash.tail() } else { StashBytes::default() };
    let StashBytes { activations, scales } = blocks + tail;
    Ok(activations.saturating_add(scales))
}
