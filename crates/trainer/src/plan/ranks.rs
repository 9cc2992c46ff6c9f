//! What the ranks of a run share, as its parts take it.

use fp8lm_data::Sampling;
use fp8lm_parallel::{DataOptions, Zero};

use super::Plan;
use crate::config::ParallelConfig;

impl Plan {
    /// Ranks in all.
    pub fn ranks(&self) -> usize {
        self.mesh.ranks()
    }

    /// The shape and order of the batches that one data-parallel rank takes. Those of all ranks are numbered
    /// through, the micro-batches of a step in the order of ranks.
    pub fn sampling_of_a_rank(&self) -> Sampling {
        let (all, ranks) = (self.sampling(), self.config.parallel.data);
        Sampling { batch: all.batch / ranks, micro_batches: all.micro_batches * ranks, ..all }
    }

    /// Tokens of a step that one data-parallel rank sees.
    pub fn tokens_per_rank_and_step(&self) -> u64 {
        self.tokens_per_step() / self.config.parallel.data as u64
    }

    /// How data-parallel ranks work together.
    pub fn data_options(&self) -> DataOptions {
        let ParallelConfig { zero, algorithm, bucket_mib, .. } = self.config.parallel;
        let zero = match zero {
            0 => Zero::Off,
            1 => Zero::States,
            _ => Zero::Gradients,
        };
        let bucket_bytes = usize::try_from(bucket_mib << 20).unwrap_or(usize::MAX);
        DataOptions { zero, algorithm, bucket_bytes }
    }
}
