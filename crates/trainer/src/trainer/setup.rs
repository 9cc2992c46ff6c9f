//! What a trainer is put together from.

use std::sync::Arc;

use fp8lm_data::{Batches, Corpus, Split, Validation};
use fp8lm_device::{Properties, Queue};
use fp8lm_optim::{AdamW, Slot};
use fp8lm_parallel::{DataGroups, DataParallel};

use super::{Groups, Parts};
use crate::{Error, Place, Plan, Result};

/// An error, before any weight is drawn, if the device is too small for the plan.
pub(super) fn expect_room(queue: &Queue, plan: &Plan, rank: usize) -> Result<()> {
    let needed = plan.memory_by_rank()[rank].iter().filter_map(|row| row.bytes).sum();
    let Properties { name: device, memory_bytes: available } = queue.properties().clone();
    if needed <= available { Ok(()) } else { Err(Error::TooLarge { device, needed, available }) }
}

/// An error unless there are as many ranks as were planned.
pub(super) fn expect_ranks(place: &Place, plan: &Plan) -> Result<()> {
    let (planned, present) = (plan.ranks(), place.ranks());
    if planned == present { Ok(()) } else { Err(Error::Ranks { planned, present }) }
}

/// This rank's part among those with the same weights; none if there are no others.
pub(super) fn parallel(
    queue: &Queue,
    groups: &Groups,
    plan: &Plan,
    parts: &mut Parts,
) -> Result<Option<DataParallel>> {
    if groups.peers.size() == 1 {
        return Ok(None);
    }
    let tensors = plan.tensors_of(groups.world.rank())?;
    // Where nothing is shared among replicas, the first owns what it has alone.
    let owners: Vec<_> = tensors.iter().map(|tensor| tensor.owner.unwrap_or(0)).collect();
    let options = plan.data_options();
    let parameters = &mut parts.parameters_mut();
    let groups = DataGroups { replicas: &groups.replicas, peers: &groups.peers };
    Ok(Some(DataParallel::new(queue, groups, options, parameters, &owners)?))
}

/// Steps what this rank owns, together with all others.
pub(super) fn optimizer(
    queue: &Queue,
    groups: &Groups,
    plan: &Plan,
    parts: &Parts,
) -> Result<AdamW> {
    let parameters = parts.parameters();
    let tensors = plan.tensors_of(groups.world.rank())?;
    let slots: Vec<_> = tensors
        .iter()
        .map(|tensor| {
            let speaks = tensor.owner.unwrap_or(0) == groups.replicas.rank();
            let counts = speaks && (tensor.shard.members > 1 || groups.is_first_shard());
            Slot { index: tensor.slot, counts }
        })
        .collect();
    let optimizer = AdamW::new(queue, plan.options(), &parameters)?;
    Ok(optimizer.over(queue, groups.world.clone(), &slots, plan.tensors().len())?)
}

pub(super) fn data(plan: &Plan, corpus: &Arc<Corpus>) -> Result<(Batches, Validation)> {
    let sampling = plan.sampling_of_a_rank();
    let split = Split::new(corpus.len(), plan.config().data.validation)?;
    let batches = Batches::new(corpus, &split, sampling)?;
    // A batch of all ranks must fit, or there is nothing that they could share.
    Validation::new(corpus, &split, plan.sampling().batch, sampling.context)?;
    Ok((batches, Validation::new(corpus, &split, sampling.batch, sampling.context)?))
}
