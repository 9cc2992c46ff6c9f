//! What a trainer is put together from.

use std::sync::Arc;

use fp8lm_collectives::Composed;
use fp8lm_data::{Batches, Corpus, Split, Validation};
use fp8lm_device::{Collectives, Properties, Queue};
use fp8lm_model::Gpt;
use fp8lm_parallel::{DataParallel, Partition};

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

/// The ranks as a group, if there are several.
pub(super) fn composed(place: &Place, queue: &Queue, plan: &Plan) -> Result<Option<Composed>> {
    let Some(link) = place.link.as_ref().filter(|link| link.size() > 1) else { return Ok(None) };
    Ok(Some(Composed::new(link.clone(), queue, plan.config().parallel.algorithm)?))
}

pub(super) fn parallel(
    queue: &Queue,
    group: &Arc<dyn Collectives>,
    plan: &Plan,
    gpt: &mut Gpt,
) -> Result<Option<DataParallel>> {
    if group.size() == 1 {
        return Ok(None);
    }
    let parameters = &mut gpt.parameters_mut();
    let owners = plan.partition().map_or(&[][..], Partition::owners);
    let options = plan.data_options();
    Ok(Some(DataParallel::new(queue, group, options, parameters, owners)?))
}

pub(super) fn data(plan: &Plan, corpus: &Arc<Corpus>) -> Result<(Batches, Validation)> {
    let sampling = plan.sampling_of_a_rank();
    let split = Split::new(corpus.len(), plan.config().data.validation)?;
    let batches = Batches::new(corpus, &split, sampling)?;
    // A batch of all ranks must fit, or there is nothing that they could share.
    Validation::new(corpus, &split, plan.sampling().batch, sampling.context)?;
    Ok((batches, Validation::new(corpus, &split, sampling.batch, sampling.context)?))
}
