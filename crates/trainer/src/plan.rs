//! A run that can begin: a configuration, checked, and what follows from it.

use std::collections::BTreeMap;

use fp8lm_data::Sampling;
use fp8lm_device::{Label, Usage};
use fp8lm_model::ModelConfig;
use fp8lm_optim::{Options, Schedule};
use fp8lm_parallel::{Axis, Mesh, Partition};
use fp8lm_scaling::{LINEAR, Recipe};

use crate::config::{Config, ConfigError, OptimizerConfig};

mod memory;
mod ranks;
mod shard;
mod sharing;
mod summary;
mod table;
mod wire;

pub use memory::PlannedRow;
pub use shard::PlannedTensor;
pub use wire::PlannedTraffic;

use shard::Cut;
use sharing::Sharing;

/// A checked run. Nothing in it changes any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    config: Config,
    recipe: Recipe,
    mesh: Mesh,
    tensors: Vec<PlannedTensor>,
    sharing: Sharing,
    /// Of each data-parallel rank.
    memory: Vec<Vec<PlannedRow>>,
    traffic: Vec<PlannedTraffic>,
    bytes_per_parameter: f64,
}

impl Plan {
    /// The plan of a configuration.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let recipe = config.recipe.resolve()?;
        let mesh = Mesh::new(&Axis::ALL.map(|axis| (axis, config.parallel.size(axis))))?;
        let cut = Cut { tensor: config.parallel.tensor, pipeline: config.parallel.pipeline };
        let tensors = shard::tensors(&config.model, &recipe, cut)?;
        let sharing = Sharing::new(&tensors, &config.parallel)?;
        let memory = memory::rows(&tensors, &sharing);
        let traffic = wire::traffic(&tensors, &sharing);
        let whole = shard::tensors(&config.model, &recipe, Cut::WHOLE)?;
        let bytes_per_parameter = bytes_per_parameter(&whole);
        Ok(Self { config, recipe, mesh, tensors, sharing, memory, traffic, bytes_per_parameter })
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

    /// The ranks.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The tensors of one rank, in the order of [`Gpt::parameters`](fp8lm_model::Gpt::parameters). All ranks have as
    /// many, but for those of other stages of a pipeline, which have fewer.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Which data-parallel rank owns which of the tensors, by the bytes that it has of them alone; none where
    /// nothing is shared.
    pub fn partition(&self) -> Option<&Partition> {
        self.sharing.partition.as_ref()
    }

    /// The memory that the first data-parallel rank needs: a row for each label of parameters, and one for scales.
    pub fn memory(&self) -> &[PlannedRow] {
        self.memory.first().map_or(&[], Vec::as_slice)
    }

    /// The same for every data-parallel rank.
    pub fn memory_by_rank(&self) -> &[Vec<PlannedRow>] {
        &self.memory
    }

    /// The memory as a text table, of many ranks the least and the most. With the `usage` of each data-parallel rank,
    /// the bytes that are allocated stand beside the plan, with what they differ by, and labels that it does not know
    /// follow.
    pub fn memory_table(&self, usage: &[BTreeMap<Label, Usage>]) -> String {
        table::render(&self.memory, usage)
    }

    /// What a step sends between data-parallel ranks: a row a kind.
    pub fn traffic(&self) -> &[PlannedTraffic] {
        &self.traffic
    }

    /// The traffic as a text table, of one rank in the mean.
    pub fn traffic_table(&self) -> String {
        wire::render(&self.traffic, self.sharing.ranks)
    }

    /// Bytes for each parameter that the recipe manages in FP8, scales not counted, on a rank that shares nothing.
    pub fn bytes_per_parameter(&self) -> f64 {
        self.bytes_per_parameter
    }
}

fn bytes_per_parameter(tensors: &[PlannedTensor]) -> f64 {
    let linears = tensors.iter().filter(|tensor| *tensor.labels == LINEAR);
    let bytes = |tensor: &PlannedTensor| tensor.elements * tensor.bytes().iter().sum::<u64>();
    let (bytes, elements) = linears
        .fold((0, 0), |(sum, elements), tensor| (sum + bytes(tensor), elements + tensor.elements));
    bytes as f64 / elements as f64
}

#[cfg(test)]
mod tests;
