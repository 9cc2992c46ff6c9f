//! From the name of a recipe, and its switches, to the recipe.

use fp8lm_ops::Accumulate;
use fp8lm_scaling::{Casts, Gemm, Precision, Recipe, ScaleRule, recipe};

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
            forward_format: None,
            input_gradient_format: None,
            weight_gradient_format: None,
            scale: None,
            columns: None,
            attention_output: None,
            stochastic: None,
            pipeline_wire: None,
            reduce_scatter_wire: None,
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
        replace(&mut linears.stochastic, self.stochastic.clone());
        self.switch_products(linears)?;
        replace(&mut recipe.wire.pipeline, self.pipeline_wire);
        replace(&mut recipe.wire.reduce_scatter, self.reduce_scatter_wire);
        recipe.overrides.clone_from(&self.overrides);
        recipe.validate()?;
        Ok(recipe)
    }

    fn switch_products(&self, linears: &mut Precision) -> Result<(), ConfigError> {
        let recipe = || self.name.clone();
        let Gemm::Fp8(casts) = &mut linears.gemm else {
            return match self.switches_of_fp8().next() {
                Some(key) => Err(ConfigError::WithoutFp8 { key, recipe: recipe() }),
                None => Ok(()),
            };
        };
        if let (None, Some(key)) = (casts.input.columns, self.switches_of_tiles().next()) {
            return Err(ConfigError::WithoutTiles { key, recipe: recipe() });
        }
        if linears.working == Some(casts.weight.format) {
            linears.working = self.forward_format.or(linears.working);
        }
        self.switch_casts(casts);
        Ok(())
    }

    fn switch_casts(&self, casts: &mut Casts) {
        replace(&mut casts.accumulate, self.accumulate);
        replace(&mut casts.input.format, self.forward_format);
        replace(&mut casts.weight.format, self.forward_format);
        replace(&mut casts.output_gradient.format, self.input_gradient_format);
        for cast in [&mut casts.input, &mut casts.weight, &mut casts.output_gradient] {
            replace(&mut cast.rule, self.scale);
        }
        if let Some(columns) = &mut casts.input.columns {
            replace(&mut columns.format, self.forward_format);
            replace(&mut columns.from, self.columns);
        }
        if let Some(columns) = &mut casts.output_gradient.columns {
            replace(&mut columns.format, self.weight_gradient_format);
            replace(&mut columns.from, self.columns);
        }
        casts.attention_output = self.attention_output.or(casts.attention_output);
    }

    fn switches_of_fp8(&self) -> impl Iterator<Item = &'static str> {
        let accumulate = self.accumulate.filter(|&model| model != Accumulate::F32);
        let switches = [
            ("accumulate", accumulate.is_some()),
            ("forward_format", self.forward_format.is_some()),
            ("input_gradient_format", self.input_gradient_format.is_some()),
            ("scale", self.scale.is_some()),
        ];
        set(switches).chain(self.switches_of_tiles())
    }

    fn switches_of_tiles(&self) -> impl Iterator<Item = &'static str> {
        set([
            ("weight_gradient_format", self.weight_gradient_format.is_some()),
            ("columns", self.columns.is_some()),
            ("attention_output", self.attention_output.is_some()),
        ])
    }
}

fn set<const N: usize>(switches: [(&'static str, bool); N]) -> impl Iterator<Item = &'static str> {
    switches.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key)
}

fn replace<T>(value: &mut T, switch: Option<T>) {
    if let Some(switch) = switch {
        *value = switch;
    }
}
