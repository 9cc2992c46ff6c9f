//! The ranks of a run, and what they share.

use fp8lm_collectives::{Algorithm, FP8_RING_RANKS};
use fp8lm_device::DType;
use fp8lm_parallel::{Axis, Mesh, PartitionRule, PipelineShape, Schedule};
use fp8lm_scaling::{Linear, Recipe};
use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, error::MOST_RANKS};

/// The ranks of a run, and how they share its work. What is left out has its default: one rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParallelConfig {
    /// Ranks that share a micro-batch's sequences, each with all weights of its part of the model.
    pub data: usize,
    /// Ranks that share every linear and the tables.
    pub tensor: usize,
    /// Ranks along a pipeline, whose stages share the blocks.
    pub pipeline: usize,
    /// Whether the ranks of a tensor share the tokens of what stands between linears as well. It has no effect on one
    /// of them.
    pub sequence: bool,
    /// In which order the ranks of a pipeline work on micro-batches, and how many stages there are.
    pub schedule: Schedule,
    /// Stages on each rank of an interleaved pipeline.
    pub chunks: usize,
    /// Whether gradients are summed in one order whatever the number of stages, the schedule, and the number of
    /// data-parallel ranks, which is a power of two: the same bits for more time and memory.
    pub deterministic: bool,
    /// What ranks with the same weights share of a tensor's states: nothing (0), masters and moments (1), or gradients
    /// as well (2). It has no effect where there is one of them.
    pub zero: u8,
    /// Who owns which tensor under ZeRO.
    pub partition: PartitionRule,
    /// How gradients are summed over ranks.
    pub algorithm: Algorithm,
    /// The most ranks over which FP8 gradients may be summed by hops, each of which rounds: it asks for more error.
    pub fp8_ring_ranks: usize,
    /// The most that travels together, in MiB as it travels: tensors share a bucket until it is full.
    pub bucket_mib: u64,
    /// Whether a run that is started again may go on with another number of data-parallel ranks. Its bits are then
    /// others, unless it is deterministic.
    pub elastic: bool,
    /// How long a rank waits for others before the run ends with an error.
    pub timeout_seconds: u64,
}

impl Default for ParallelConfig {
    fn default() -> Self {
        Self {
            data: 1,
            tensor: 1,
            pipeline: 1,
            sequence: true,
            schedule: Schedule::OneFOneB,
            chunks: 1,
            deterministic: false,
            zero: 1,
            partition: PartitionRule::Greedy,
            algorithm: Algorithm::RoundOnce,
            fp8_ring_ranks: FP8_RING_RANKS,
            bucket_mib: 25,
            elastic: false,
            timeout_seconds: 300,
        }
    }
}

impl ParallelConfig {
    /// Ranks along an axis of the mesh.
    pub fn size(&self, axis: Axis) -> usize {
        match axis {
            Axis::Pipeline => self.pipeline,
            Axis::Data => self.data,
            Axis::Tensor => self.tensor,
        }
    }

    /// The size of a pipeline, of which each data-parallel rank has one.
    pub(crate) fn shape(&self, micro_batches: usize) -> PipelineShape {
        let share = if self.deterministic { self.data } else { 1 };
        let micro_batches = micro_batches / share;
        PipelineShape { ranks: self.pipeline, chunks: self.chunks, micro_batches }
    }

    /// Whether tensor-parallel ranks share the tokens between linears.
    pub fn shares_tokens(&self) -> bool {
        self.sequence && self.tensor > 1
    }
}

impl Config {
    /// The ranks, if they are not too many.
    pub(crate) fn mesh(&self) -> Result<Mesh, ConfigError> {
        let mesh = Mesh::new(&Axis::ALL.map(|axis| (axis, self.parallel.size(axis))))?;
        if mesh.ranks() > MOST_RANKS {
            return Err(ConfigError::TooManyRanks { mesh });
        }
        Ok(mesh)
    }

    /// Whether FP8 gradients are summed by hops over no more ranks than is allowed.
    pub(super) fn check_fp8_ring(&self, recipe: &Recipe) -> Result<(), ConfigError> {
        let ParallelConfig { data, pipeline, schedule, algorithm, fp8_ring_ranks: most, .. } =
            self.parallel;
        // Under dualpipe each stage is on two ranks of a pipeline.
        let mirrors = if schedule == Schedule::DualPipe && pipeline > 1 { 2 } else { 1 };
        let ranks = data * mirrors;
        let by_hops = algorithm != Algorithm::RoundOnce && !self.parallel.deterministic;
        if !by_hops || ranks <= most {
            return Ok(());
        }
        let blocks = 0..self.model.layers;
        let linears = blocks.flat_map(|block| Linear::ALL.map(|linear| (block, linear)));
        for (block, linear) in linears {
            let dtype = recipe.precision(block, linear)?.gradient.format.dtype;
            if dtype != DType::F32 {
                return Err(ConfigError::Fp8Ring { algorithm, dtype, ranks, most });
            }
        }
        Ok(())
    }

    /// Whether ranks can share evenly what they share.
    pub(super) fn check_shares(&self) -> Result<(), ConfigError> {
        let (data, model) = (&self.data, &self.model);
        let of_data = match self.parallel.deterministic {
            true => ("data.micro_batches", data.micro_batches, Axis::Data),
            false => ("data.batch", data.batch, Axis::Data),
        };
        let shares = [
            of_data,
            ("model.mlp", model.mlp, Axis::Tensor),
            (VOCABULARY, model.vocabulary, Axis::Tensor),
        ];
        let ranks = |axis| self.parallel.size(axis);
        let uneven = shares.iter().find(|(_, value, axis)| !value.is_multiple_of(ranks(*axis)));
        match uneven {
            Some(&(key, value, axis)) => {
                Err(ConfigError::Uneven { key, value, axis, ranks: ranks(axis) })
            }
            None => Ok(()),
        }
    }
}

/// A multiple of `ranks` for a key to have in place of `value`: near, but a vocabulary loses no token.
pub(super) fn fitting_multiple(key: &str, value: usize, ranks: usize) -> usize {
    match key {
        VOCABULARY => value.next_multiple_of(ranks),
        _ => nearest_multiple(value, ranks),
    }
}

/// The multiple of `ranks` that is nearest to `value`, the larger of two.
pub(super) fn nearest_multiple(value: usize, ranks: usize) -> usize {
    ((value + ranks / 2) / ranks).max(1) * ranks
}

const VOCABULARY: &str = "model.vocabulary";
