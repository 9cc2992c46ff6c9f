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

    /// The shape and order of the batches that data-parallel ranks take, numbered through as
    /// [`batch_of`](Self::batch_of) does.
    pub fn sampling_of_a_rank(&self) -> Sampling {
        let ParallelConfig { data, deterministic, .. } = self.config.parallel;
        let all = self.sampling();
        if deterministic {
            return all;
        }
        Sampling { batch: all.batch / data, micro_batches: all.micro_batches * data, ..all }
    }

    /// Micro-batches of a step that one data-parallel rank takes.
    pub fn micro_batches_of_a_rank(&self) -> usize {
        self.pipeline_shape().micro_batches
    }

    /// Those of them that go through each of its stages: under some schedules two ranks of a pipeline share them.
    pub fn micro_batches_of_a_replica(&self) -> usize {
        self.micro_batches_of_a_rank() * self.config.parallel.data / self.replicas()
    }

    /// Which batch of a step is the `micro_batch`-th of a data-parallel rank. Each takes its rows of every micro-batch;
    /// in the deterministic mode it takes whole ones, those of a step in a row.
    pub fn batch_of(&self, data_rank: usize, micro_batch: usize) -> usize {
        let ParallelConfig { data, deterministic, .. } = self.config.parallel;
        match deterministic {
            true => data_rank * self.micro_batches_of_a_rank() + micro_batch,
            false => micro_batch * data + data_rank,
        }
    }

    /// What the loss of a token is multiplied by before the backward pass, so that what ranks with the same weights
    /// make of their gradients is that of the mean loss: their mean or, in the deterministic mode, their sum.
    pub fn gradient_scale(&self) -> f32 {
        let replicas = if self.config.parallel.deterministic { 1 } else { self.replicas() as u64 };
        1.0 / (self.tokens_per_step() / replicas) as f32
    }

    /// Rows of the residual stream that a rank has of a micro-batch.
    pub fn residual_rows(&self) -> usize {
        let ParallelConfig { tensor, sequence, .. } = self.config.parallel;
        let rows = self.sampling_of_a_rank().batch * self.model().context;
        if sequence { rows / tensor } else { rows }
    }

    /// How data-parallel ranks work together.
    pub fn data_options(&self) -> DataOptions {
        let ParallelConfig { zero, algorithm, bucket_mib, deterministic, .. } =
            self.config.parallel;
        let zero = match zero {
            0 => Zero::Off,
            1 => Zero::States,
            _ => Zero::Gradients,
        };
        let bucket_bytes = usize::try_from(bucket_mib << 20).unwrap_or(usize::MAX);
        DataOptions { zero, algorithm, bucket_bytes, deterministic }
    }
}
