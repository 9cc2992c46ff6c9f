//! Whether tensor-parallel ranks can share what a configuration gives them.

use fp8lm_ops::{GROUP, ScaleRule};
use fp8lm_scaling::{Linear, Recipe, WireFormat};

use super::{Config, ConfigError};

impl Config {
    /// Whether they can share tokens, casts and states.
    pub(super) fn check_tensor(&self, recipe: &Recipe) -> Result<(), ConfigError> {
        if self.parallel.tensor == 1 {
            return Ok(());
        }
        self.check_tokens()?;
        self.check_wire(recipe)?;
        for block in 0..self.model.layers {
            for linear in Linear::ALL {
                self.check_groups(recipe, block, linear)?;
            }
        }
        Ok(())
    }

    /// Whether each of them has heads, and as many.
    pub(super) fn check_heads(&self) -> Result<(), ConfigError> {
        let (heads, width, tensor) = (self.model.heads, self.model.width, self.parallel.tensor);
        if heads.is_multiple_of(tensor) {
            return Ok(());
        }
        let fits = self.fitting(|_| true);
        Err(ConfigError::UnevenHeads { heads, tensor, fits, width })
    }

    /// Tokens of a micro-batch on one data-parallel rank.
    pub(crate) fn tokens_of_a_rank(&self) -> usize {
        let ranks = if self.parallel.deterministic { 1 } else { self.parallel.data };
        self.data.batch / ranks * self.model.context
    }

    /// The lengths [out, in] of a linear on one of its tensor-parallel ranks.
    pub(super) fn shape_of_a_rank(&self, linear: Linear) -> [usize; 2] {
        let [outputs, inputs] = self.model.linear_shape(linear);
        let tensor = self.parallel.tensor;
        match linear {
            Linear::Qkv | Linear::Up => [outputs / tensor, inputs],
            Linear::Proj | Linear::Down => [outputs, inputs / tensor],
        }
    }

    fn check_tokens(&self) -> Result<(), ConfigError> {
        let (tokens, tensor) = (self.tokens_of_a_rank(), self.parallel.tensor);
        if !self.parallel.sequence || tokens.is_multiple_of(tensor) {
            return Ok(());
        }
        let fits = self.fitting(|ranks| tokens.is_multiple_of(ranks));
        Err(ConfigError::UnevenTokens { tensor, tokens, fits })
    }

    fn check_wire(&self, recipe: &Recipe) -> Result<(), ConfigError> {
        let tensor = self.parallel.tensor;
        match recipe.wire.reduce_scatter {
            WireFormat::E4m3 if !self.parallel.sequence => {
                Err(ConfigError::NothingScattered { tensor })
            }
            _ => Ok(()),
        }
    }

    /// Groups that share a scale must not reach beyond what a rank has in a row.
    fn check_groups(
        &self,
        recipe: &Recipe,
        block: usize,
        linear: Linear,
    ) -> Result<(), ConfigError> {
        let precision = recipe.precision(block, linear)?;
        let tensor = self.parallel.tensor;
        let states =
            [("first_moment", precision.first_moment), ("second_moment", precision.second_moment)];
        let grouped = states.into_iter().find(|(_, format)| format.rule == ScaleRule::Expand);
        let (Some((key, format)), run) = (grouped, self.run(linear, tensor)) else { return Ok(()) };
        if run.is_multiple_of(GROUP) {
            return Ok(());
        }
        let fits =
            |ranks| Linear::ALL.into_iter().all(|one| self.run(one, ranks).is_multiple_of(GROUP));
        let (fits, linear) = (self.fitting(fits), linear.name());
        Err(ConfigError::CutGroups { key, format, tensor, block, linear, run, fits })
    }

    /// Elements of a linear that stand in a row in it and are one rank's of so many.
    fn run(&self, linear: Linear, ranks: usize) -> usize {
        let [outputs, inputs] = self.model.linear_shape(linear);
        match linear {
            Linear::Qkv => outputs / 3 / ranks * inputs,
            Linear::Up => outputs / self.model.activation.inputs() / ranks * inputs,
            Linear::Proj | Linear::Down => inputs / ranks,
        }
    }

    /// The most ranks below those that are asked for which can share the model's shape, and more.
    fn fitting(&self, more: impl Fn(usize) -> bool) -> usize {
        let (model, tensor) = (&self.model, self.parallel.tensor);
        let shape = [model.heads, model.mlp, model.vocabulary];
        let fits = |ranks: &usize| {
            shape.iter().all(|extent| extent.is_multiple_of(*ranks)) && more(*ranks)
        };
        (1..tensor).rev().find(fits).unwrap_or(1)
    }
}
