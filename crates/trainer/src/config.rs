//! What a run is asked to do: six tables of plain data, as TOML has them.
//!
//! A configuration is built in layers: a preset, a file over it, `--set section.key=value` over
//! both. [`Config::load`] refuses unknown keys, wrong types and values out of range with one
//! sentence that names the layer, the key, the value and what was expected. What it returns is
//! complete: written out by [`Config::to_toml`], it is the whole run.

use std::path::{Path, PathBuf};

use fp8lm_data::Tokenizer;
use fp8lm_device::DType;
use fp8lm_model::{ModelConfig, Recompute};
use fp8lm_ops::Accumulate;
use fp8lm_scaling::{
    Accumulation, Format, HeadRoom, Override, Rounded, ScaleRule, Source, WireFormat,
};
use serde::{Deserialize, Serialize};

mod change;
mod check;
mod error;
mod keys;
mod layer;
mod parallel;
mod pipeline;
mod presets;
mod recipe;
mod tensor;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use keys::keys;
pub use parallel::ParallelConfig;
pub use presets::{preset, preset_names};

use layer::Layers;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The shape of the model.
    pub model: ModelConfig,
    /// What is kept in which format.
    pub recipe: RecipeConfig,
    /// What it learns from.
    pub data: DataConfig,
    /// How it learns.
    pub optimizer: OptimizerConfig,
    /// On how many ranks, and what they share.
    #[serde(default)]
    pub parallel: ParallelConfig,
    /// How long, and what is written on the way.
    pub run: RunConfig,
}

/// A recipe by name, and what of it is switched to something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeConfig {
    /// The recipe that it starts from.
    pub name: String,
    /// The format of the linears' master weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<Format>,
    /// The format of their first moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_moment: Option<Format>,
    /// The format of their second moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_moment: Option<Format>,
    /// The head-room in the scale of their gradients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_room: Option<HeadRoom>,
    /// Where their gradients are summed over micro-batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_accumulation: Option<Accumulation>,
    /// How the products of their matrix multiplications are summed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulate: Option<Accumulate>,
    /// The format of inputs and weights in FP8, and with it of stored working weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_format: Option<DType>,
    /// The format of output gradients in the input gradient's product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_gradient_format: Option<DType>,
    /// The format of output gradients in the weight gradient's product, under tiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_gradient_format: Option<DType>,
    /// The rule of the scales of operands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleRule>,
    /// What the weight gradient's tiles are made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Source>,
    /// What the projection behind attention keeps of its input, under tiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_output: Option<Source>,
    /// What of the linears is rounded stochastically instead of to the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic: Option<Vec<Rounded>>,
    /// How activations travel between the stages of a pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_wire: Option<WireFormat>,
    /// How the gradients of activations travel on their way to being summed over tensor-parallel ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_scatter_wire: Option<WireFormat>,
    /// Exceptions for named linears and blocks; the first that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// The corpus, and how batches are cut from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// UTF-8 texts, joined in this order, or a single `.bin` of 16-bit tokens; the embedded King
    /// James Bible if there are none.
    pub files: Vec<PathBuf>,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
    /// The fraction of the corpus, its end, that is kept for validation.
    pub validation: f64,
    /// Sequences in a micro-batch, of all data-parallel ranks together.
    pub batch: usize,
    /// Micro-batches in a step.
    pub micro_batches: usize,
}

/// AdamW and its learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The largest learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// The last step's learning rate, as a fraction of the largest.
    pub final_fraction: f64,
    /// The decay of the first moment.
    pub beta1: f64,
    /// The decay of the second moment.
    pub beta2: f64,
    /// What keeps the update's denominator from 0.
    pub eps: f64,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f64,
    /// The global norm that gradients are clipped to.
    pub clip: f64,
}

/// The length of a run, and what is written on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Optimizer steps.
    pub steps: u64,
    /// The seed of initial weights and of the order of the data.
    pub seed: u64,
    /// Steps from one line of metrics to the next.
    pub log_every: u64,
    /// Steps from one evaluation to the next; there is always one after the last step.
    pub evaluate_every: u64,
    /// Validation batches in an evaluation; 0 takes them all.
    pub evaluate_batches: usize,
    /// Validation batches in the evaluation after the last step; 0 takes them all.
    pub evaluate_batches_at_end: usize,
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept, the latest ones.
    pub keep_checkpoints: usize,
    /// A recipe to train as well, in a folder inside the run's, for comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<String>,
    /// Threads of the emulator; 0 takes all that the machine has. Results do not depend on it.
    pub threads: usize,
    /// What a backward pass computes again instead of keeping it. Results do not depend on it.
    #[serde(default)]
    pub recompute: Recompute,
}

impl Config {
    /// The preset, with `file` over it, and over both `sets`, each `section.key=value`. A value
    /// is read as TOML if it can be, else as a bare string.
    pub fn load(preset: &str, file: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        Self::load_on(preset, file, sets, None)
    }

    /// The same on so many `ranks` in all: as many data-parallel ones as the other axes leave.
    pub fn load_on(
        preset: &str,
        file: Option<&Path>,
        sets: &[String],
        ranks: Option<u32>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::preset(preset)?;
        if let Some(path) = file {
            layers.file(path)?;
        }
        layers.top(sets, ranks)?;
        layers.resolve()
    }

    /// That of a run, from its folder, with `sets` over it, on so many `ranks` as in [`load_on`](Self::load_on).
    pub fn of_run(folder: &Path, sets: &[String], ranks: Option<u32>) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.file(&folder.join("config.toml"))?;
        layers.top(sets, ranks)?;
        layers.resolve()
    }

    /// A complete configuration, as [`to_toml`](Self::to_toml) writes it; `origin` stands for it
    /// in messages.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.text(origin, text)?;
        layers.resolve()
    }

    /// The run that this one is compared with: the same with another recipe, as it is.
    pub fn baseline(&self) -> Option<Self> {
        let recipe = RecipeConfig::named(self.run.compare.as_deref()?);
        let run = RunConfig { compare: None, ..self.run.clone() };
        Some(Self { recipe, run, ..self.clone() })
    }

    /// All of it as TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(ConfigError::unwritable)
    }
}
