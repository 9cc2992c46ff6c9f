//! From the name of a recipe, and its switches, to the recipe.

use fp8lm_ops::Accumulate;
use fp8lm_scaling::{Gemm, Recipe, ScaleRule, recipe};

use super::{ConfigError, RecipeConfig};

impl RecipeConfig {
    /// A recipe as it is.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            master: None,
            first_moment: None,
            second_moment: None,
            head_room: None,
            grad_accumulation: None,
            accumulate: None,
            overrides: Vec::new(),
        }
    }

    /// The recipe with its switches set.
    pub fn resolve(&self) -> Result<Recipe, ConfigError> {
        let mut recipe = recipe(&self.name)?;
        let linears = &mut recipe.linears;
        let scaled = linears.gradient.format.rule != ScaleRule::None;
        if self.head_room.is_some() && !scaled {
            return Err(ConfigError::HeadRoomWithoutScale { recipe: recipe.name });
        }
        replace(&mut linears.master, self.master);
        replace(&mut linears.first_moment, self.first_moment);
        replace(&mut linears.second_moment, self.second_moment);
        replace(&mut linears.gradient.head_room, self.head_room);
        replace(&mut linears.gradient.accumulation, self.grad_accumulation);
        match (&mut linears.gemm, self.accumulate) {
            (Gemm::Fp8(casts), switch) => replace(&mut casts.accumulate, switch),
            (Gemm::Plain, None | Some(Accumulate::F32)) => {}
            (Gemm::Plain, Some(_)) => {
                return Err(ConfigError::AccumulateWithoutFp8 { recipe: recipe.name });
            }
        }
        recipe.overrides.clone_from(&self.overrides);
        recipe.validate()?;
        Ok(recipe)
    }
}

fn replace<T>(value: &mut T, switch: Option<T>) {
    if let Some(switch) = switch {
        *value = switch;
    }
}
