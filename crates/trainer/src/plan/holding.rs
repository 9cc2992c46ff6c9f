//! What the ranks at one place of the pipeline hold: one list of tensors, shared by replicas, cut by tensor ranks.

use fp8lm_parallel::PartitionRule;

use super::{
    memory::{self, PlannedRow},
    sharing::Sharing,
    stages::Stages,
    tensors::{PlannedTensor, Tensors},
};
use crate::config::{ConfigError, ParallelConfig};

/// What a place's ranks hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Holding {
    /// As the first tensor rank has them, in the order of slots.
    pub(super) tensors: Vec<PlannedTensor>,
    pub(super) sharing: Sharing,
    /// Of each replica. Ranks that share tensors have as much.
    pub(super) memory: Vec<Vec<PlannedRow>>,
}

impl Holding {
    /// Of every place in turn.
    pub(super) fn of_places(
        tensors: &Tensors,
        stages: &Stages,
        parallel: &ParallelConfig,
    ) -> Result<Vec<Self>, ConfigError> {
        let ParallelConfig { data, tensor, pipeline, zero, partition, .. } = *parallel;
        let hold = |place: usize| {
            let tensors = tensors.of(&stages.parts(place), tensor);
            Self::new(tensors, data * stages.mirrors(place).len(), zero, partition)
        };
        (0..pipeline).map(hold).collect()
    }

    fn new(
        mut tensors: Vec<PlannedTensor>,
        replicas: usize,
        zero: u8,
        rule: PartitionRule,
    ) -> Result<Self, ConfigError> {
        let sharing = Sharing::new(&mut tensors, replicas, zero, rule)?;
        let memory = memory::rows(&tensors, &sharing);
        Ok(Self { tensors, sharing, memory })
    }
}
