//! A run that can begin: a configuration, checked, and what follows from it.

use std::{collections::BTreeMap, fmt};

use fp8lm_data::Sampling;
use fp8lm_device::{Label, Usage};
use fp8lm_model::ModelConfig;
use fp8lm_optim::{Options, Schedule};
use fp8lm_scaling::{Precision, Recipe};

use crate::{
    config::{Config, ConfigError, OptimizerConfig},
    text::{grouped, trimmed},
};

mod memory;
mod table;

pub use memory::PlannedRow;

/// A checked run. Nothing in it changes any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    config: Config,
    recipe: Recipe,
    memory: Vec<PlannedRow>,
}

impl Plan {
    /// The plan of a configuration.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let recipe = config.recipe.resolve()?;
        let memory = memory::rows(&config.model, &recipe)?;
        Ok(Self { config, recipe, memory })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The shape of the model.
    pub fn model(&self) -> &ModelConfig {
        &self.config.model
    }

    /// The recipe, its switches set.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The learning rate of each step.
    pub fn schedule(&self) -> Schedule {
        let OptimizerConfig { learning_rate, warmup, final_fraction, .. } = self.config.optimizer;
        let floor = learning_rate * final_fraction;
        Schedule { peak: learning_rate, floor, warmup, steps: self.config.run.steps }
    }

    /// AdamW's hyper-parameters.
    pub fn options(&self) -> Options {
        let OptimizerConfig { beta1, beta2, eps, weight_decay, clip, .. } = self.config.optimizer;
        Options { beta1, beta2, eps, weight_decay, max_norm: clip }
    }

    /// The shape and order of batches.
    pub fn sampling(&self) -> Sampling {
        let (data, seed) = (&self.config.data, self.config.run.seed);
        let context = self.config.model.context;
        Sampling { seed, batch: data.batch, micro_batches: data.micro_batches, context }
    }

    /// Tokens that a step learns from.
    pub fn tokens_per_step(&self) -> u64 {
        let Sampling { batch, micro_batches, context, .. } = self.sampling();
        (batch * micro_batches * context) as u64
    }

    /// All parameters of the model.
    pub fn parameters(&self) -> u64 {
        let model = self.model();
        (model.linear_parameters() + model.rest_parameters()) as u64
    }

    /// The memory that it needs: a row for each label of parameters, and one for scales.
    pub fn memory(&self) -> &[PlannedRow] {
        &self.memory
    }

    /// The memory as a text table. With `usage`, the bytes that are allocated stand beside the
    /// plan, with what they differ by, and labels that it does not know follow.
    pub fn memory_table(&self, usage: Option<&BTreeMap<Label, Usage>>) -> String {
        table::render(&self.memory, usage)
    }

    /// Bytes for each parameter that the recipe manages in FP8, scales not counted.
    pub fn bytes_per_parameter(&self) -> f64 {
        let linears = self.memory.iter().filter(|row| row.is_linear());
        linears.filter_map(PlannedRow::bytes_per_parameter).sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_model(f)?;
        self.fmt_recipe(f)?;
        self.fmt_tokens(f)?;
        self.fmt_schedule(f)
    }
}

/// The lines of the summary.
impl Plan {
    fn fmt_model(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelConfig { layers, width, heads, context, mlp, vocabulary, .. } = self.model();
        write!(f, "model     {} parameters: {layers} layers, ", grouped(self.parameters()))?;
        write!(f, "width {width}, {heads} heads, mlp {mlp}, context {context}, ")?;
        writeln!(f, "vocabulary {vocabulary}")
    }

    fn fmt_recipe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recipe { name, linears, overrides, .. } = &self.recipe;
        let Precision { gradient, master, first_moment, second_moment, .. } = linears;
        let bytes = trimmed(self.bytes_per_parameter());
        write!(f, "recipe    {name}, {bytes} bytes a linear parameter: ")?;
        if let Some(working) = linears.working {
            write!(f, "working {working}, ")?;
        }
        write!(f, "gradient {}, master {master}, ", gradient.format)?;
        write!(f, "moments {first_moment} and {second_moment}")?;
        match overrides.len() {
            0 => writeln!(f),
            1 => writeln!(f, ", 1 exception"),
            count => writeln!(f, ", {count} exceptions"),
        }
    }

    fn fmt_tokens(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sampling { batch, micro_batches, context, .. } = self.sampling();
        let (step, steps) = (self.tokens_per_step(), self.config.run.steps);
        let [all, step, steps] = [step.saturating_mul(steps), step, steps].map(grouped);
        write!(f, "tokens    {step} a step ({micro_batches} x {batch} sequences of {context}), ")?;
        writeln!(f, "{all} in {steps} steps")
    }

    fn fmt_schedule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule { peak, floor, warmup, .. } = self.schedule();
        let warmup = grouped(warmup);
        write!(f, "schedule  learning rate up to {peak:e} in {warmup} steps, cosine to {floor:e}")
    }
}

#[cfg(test)]
mod tests;
