//! What ranks with the same weights share of a tensor's states: ZeRO by whole tensors, or whole shards of them (FP8-LM,
//! section 2.3).
//!
//! | stage | whole on every replica | on the owner alone |
//! |---|---|---|
//! | 0 | everything | |
//! | 1 | gradients, and what is read: the working copy or, without one, the master | the rest |
//! | 2 | what is read | the rest |

use fp8lm_parallel::{Partition, PartitionRule};

use super::tensors::PlannedTensor;

/// Who has what of the tensors of one place of the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sharing {
    zero: u8,
    /// Ranks with the same weights.
    pub(super) replicas: usize,
    /// Owners of tensors; none where nothing is shared.
    pub(super) partition: Option<Partition>,
}

impl Sharing {
    /// Owners share the bytes that owning brings. The tensors are told of them.
    pub(super) fn new(
        tensors: &mut [PlannedTensor],
        replicas: usize,
        zero: u8,
        rule: PartitionRule,
    ) -> Result<Self, fp8lm_parallel::Error> {
        let sizes: Vec<_> = tensors.iter().map(|tensor| owned(tensor, zero).iter().sum()).collect();
        if zero == 0 || replicas == 1 {
            return Ok(Self { zero, replicas, partition: None });
        }
        let partition = rule.partition(&sizes, replicas)?;
        for (tensor, owner) in tensors.iter_mut().zip(partition.owners()) {
            tensor.owner = Some(*owner);
        }
        Ok(Self { zero, replicas, partition: Some(partition) })
    }

    /// Whether gradients are summed on the owner alone, and its weights sent to all.
    pub(super) fn has_owners(&self) -> bool {
        self.partition.is_some()
    }

    /// Bytes of a tensor by kind that every replica has.
    pub(super) fn common(&self, tensor: &PlannedTensor) -> [u64; 5] {
        let (all, owned) = (whole(tensor), self.owned(tensor));
        std::array::from_fn(|kind| all[kind] - owned[kind])
    }

    /// Those that its owner alone has.
    pub(super) fn owned(&self, tensor: &PlannedTensor) -> [u64; 5] {
        if self.has_owners() { owned(tensor, self.zero) } else { [0; 5] }
    }
}

fn whole(tensor: &PlannedTensor) -> [u64; 5] {
    tensor.bytes().map(|bytes| bytes * tensor.elements)
}

fn owned(tensor: &PlannedTensor, zero: u8) -> [u64; 5] {
    let [_, gradient, master, first, second] = whole(tensor);
    let master = if tensor.precision.working.is_some() { master } else { 0 };
    match zero {
        0 => [0; 5],
        1 => [0, 0, master, first, second],
        _ => [0, gradient, master, first, second],
    }
}
