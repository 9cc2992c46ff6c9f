//! A run that can begin: a configuration, checked, and what follows from it.

use std::collections::BTreeMap;

use fp8lm_data::Sampling;
use fp8lm_device::{Label, Usage};
use fp8lm_model::{COLUMNS, ModelConfig};
use fp8lm_optim::{Options, Schedule};
use fp8lm_parallel::{Axis, Mesh, Partition};
use fp8lm_scaling::{LINEAR, Recipe};

use crate::config::{Config, ConfigError, OptimizerConfig};

mod activations;
mod holding;
mod kept;
mod layout;
mod memory;
mod ranks;
mod sharing;
mod stages;
mod summary;
mod table;
mod tensors;
mod traffic;
mod wire;

pub use layout::Layout;
pub use memory::PlannedRow;
pub use tensors::PlannedTensor;
pub use wire::{PlannedTraffic, Volume};

use holding::Holding;
use stages::Stages;
use tensors::Tensors;

/// A checked run. Nothing in it changes any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    config: Config,
    recipe: Recipe,
    mesh: Mesh,
    stages: Stages,
    /// All of the model, whole.
    tensors: Vec<PlannedTensor>,
    /// Of each place of the pipeline.
    holdings: Vec<Holding>,
    /// Of each rank.
    memory: Vec<Vec<PlannedRow>>,
    /// Of each place of the pipeline.
    kept: Vec<u64>,
    /// Of all ranks.
    traffic: Vec<PlannedTraffic>,
    /// Gradients and weights of one rank, as FP8-LM counts them.
    gradient_volume: Volume,
    bytes_per_parameter: f64,
}

impl Plan {
    /// The plan of a configuration.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let (recipe, parallel) = (config.recipe.resolve()?, &config.parallel);
        let mesh = config.mesh()?;
        let stages = Stages::new(&config);
        let tensors = Tensors::new(&config.model, &recipe)?;
        let holdings = Holding::of_places(&tensors, &stages, parallel)?;
        let memory = memory::by_rank(&mesh, &stages, &holdings)?;
        let kept = kept::by_place(&config, &recipe, &stages)?;
        let traffic = traffic::of_a_step(&holdings, &stages, &config, &recipe)?;
        let gradient_volume = traffic::published(&tensors, &config)?;
        let tensors: Vec<_> = tensors.whole().cloned().collect();
        let bytes_per_parameter = bytes_per_parameter(&tensors);
        Ok(Self {
            config,
            recipe,
            mesh,
            stages,
            tensors,
            holdings,
            memory,
            kept,
            traffic,
            gradient_volume,
            bytes_per_parameter,
        })
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

    /// The tensors of the model, whole, in the order of [`Gpt::parameters`](fp8lm_model::Gpt::parameters).
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// What a rank has of them, in the same order, whatever the order of its chunks. Ranks with the same weights have
    /// the same list.
    pub fn tensors_of(&self, rank: usize) -> Result<Vec<PlannedTensor>, fp8lm_parallel::Error> {
        let coordinate = self.mesh.coordinate(rank)?;
        let mut tensors = self.holdings[coordinate.place(Axis::Pipeline)].tensors.clone();
        for tensor in tensors.iter_mut().filter(|tensor| tensor.shard.members > 1) {
            tensor.shard.place = coordinate.place(Axis::Tensor);
        }
        Ok(tensors)
    }

    /// Which of the replicas of the first rank owns which of its tensors, by the bytes that it has of them alone; none
    /// where nothing is shared.
    pub fn partition(&self) -> Option<&Partition> {
        self.holdings.first()?.sharing.partition.as_ref()
    }

    /// The memory that the first rank needs: a row for each label of parameters, and one for scales.
    pub fn memory(&self) -> &[PlannedRow] {
        self.memory.first().map_or(&[], Vec::as_slice)
    }

    /// The same for every rank.
    pub fn memory_by_rank(&self) -> &[Vec<PlannedRow>] {
        &self.memory
    }

    /// The memory as a text table, of many ranks the least and the most. With the `usage` of each rank, the bytes that
    /// are allocated stand beside the plan, with what they differ by, and labels that it does not know follow.
    pub fn memory_table(&self, usage: &[BTreeMap<Label, Usage>]) -> String {
        table::render(&self.memory, usage)
    }

    /// The bytes of activations that a rank keeps at most between forward and backward passes, of each place along the
    /// pipeline.
    pub fn kept_by_place(&self) -> &[u64] {
        &self.kept
    }

    /// What all ranks send in a step, a row a kind.
    pub fn traffic(&self) -> &[PlannedTraffic] {
        &self.traffic
    }

    /// The traffic as a text table, of one rank in the mean.
    pub fn traffic_table(&self) -> String {
        wire::render(&self.traffic, self.ranks())
    }

    /// The gradients and weights that a rank sends in a step, as FP8-LM counts them (table 5): of the blocks of one
    /// place of the pipeline, with the tables of the first and of the last one as one rank's.
    pub fn gradient_volume(&self) -> Volume {
        self.gradient_volume
    }

    /// The activations that a rank sends of a micro-batch for its column-parallel linears, as FP8-LM counts them (table
    /// 7).
    pub fn activation_volume(&self) -> Volume {
        let columns = self.traffic.iter().filter(|row| row.label == COLUMNS).cloned();
        let micro_batches = self.ranks() * self.micro_batches_of_a_rank();
        Volume::of(&columns.collect::<Vec<_>>(), micro_batches as u64)
    }

    /// Both as a text table: of plans with ranks along other axes than the data-parallel one.
    pub fn volume_table(&self) -> String {
        let mut volumes = Vec::new();
        let is_cut = self.config.parallel.tensor > 1 || self.stages() > 1;
        if is_cut && self.config.parallel.data > 1 {
            volumes.push(("gradients and weights, a rank and step", self.gradient_volume()));
        }
        if self.config.parallel.tensor > 1 {
            let name = "inputs of column-parallel linears, a rank and micro-batch";
            volumes.push((name, self.activation_volume()));
        }
        wire::render_volumes(&volumes)
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
