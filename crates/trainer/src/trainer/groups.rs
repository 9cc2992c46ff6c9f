//! The groups that a rank is in.

use std::sync::Arc;

use fp8lm_collectives::{Channel, Composed, Traffic};
use fp8lm_device::{Alone, Collectives, Link, Queue};
use fp8lm_parallel::{Axis, Coordinate, PIPELINE, SCALARS};

use super::watch::{Waits, Watched};
use crate::{Place, Plan, Result, config::ParallelConfig, plan::Layout};

/// The groups that a rank is in.
#[derive(Debug)]
pub(crate) struct Groups {
    /// All ranks.
    pub(crate) world: Arc<dyn Collectives>,
    /// Those that share every tensor.
    pub(crate) tensor: Arc<dyn Collectives>,
    /// Those with the same weights.
    pub(crate) replicas: Arc<dyn Collectives>,
    /// The replicas, each with all that it shares tensors with.
    pub(crate) peers: Arc<dyn Collectives>,
    /// Its way to the other stages; none if it has them all.
    pub(crate) pipeline: Option<Channel>,
    coordinate: Coordinate,
    /// All ranks again, for what is sent among them; none if there is one.
    composed: Option<Composed>,
}

impl Groups {
    /// The groups of this rank. All ranks make them at the same time. What they wait for one another is counted.
    pub(super) fn new(place: &Place, queue: &Queue, plan: &Plan, waits: &Waits) -> Result<Self> {
        let Layout { coordinate, tensor, replicas, peers, pipeline } = plan.layout(place.rank())?;
        let composed = composed(place, queue, plan, waits)?;
        let split = |members: &[usize]| -> Result<Arc<dyn Collectives>> {
            match &composed {
                Some(world) if members.len() > 1 || place.ranks() == 1 => {
                    Ok(world.labelled(SCALARS).split(members)?)
                }
                _ => Ok(Arc::new(Alone)),
            }
        };
        let everybody: Vec<_> = (0..place.ranks()).collect();
        Ok(Self {
            world: split(&everybody)?,
            tensor: split(&tensor)?,
            replicas: split(&replicas)?,
            peers: split(&peers)?,
            pipeline: match &composed {
                Some(world) if pipeline.len() > 1 => Some(world.channel(&pipeline, PIPELINE)?),
                _ => None,
            },
            coordinate,
            composed,
        })
    }

    /// Its place along an axis.
    pub(crate) fn place(&self, axis: Axis) -> usize {
        self.coordinate.place(axis)
    }

    /// Whether it speaks for all that share its tensors.
    pub(crate) fn is_first_shard(&self) -> bool {
        self.place(Axis::Tensor) == 0
    }

    /// What this rank sent since the last time.
    pub(super) fn take_traffic(&self) -> Traffic {
        self.composed.as_ref().map(Composed::take_traffic).unwrap_or_default()
    }
}

/// All ranks as a group, if there are several. A library that connects ranks is used by one as well, which shows that
/// it changes no bit.
fn composed(place: &Place, queue: &Queue, plan: &Plan, waits: &Waits) -> Result<Option<Composed>> {
    let is_used = |link: &&Arc<dyn Link>| link.size() > 1 || link.native(queue).is_some();
    let Some(link) = place.link.as_ref().filter(is_used) else { return Ok(None) };
    let ParallelConfig { algorithm, fp8_ring_ranks, .. } = plan.config().parallel;
    let world = Composed::new(Watched::over(link.clone(), waits), queue, algorithm)?;
    Ok(Some(world.with_fp8_ring_ranks(fp8_ring_ranks)))
}
