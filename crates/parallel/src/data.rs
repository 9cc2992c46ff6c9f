//! Data-parallel training: gradients are summed over ranks beside the backward pass, and of each parameter one rank
//! keeps the states and steps it (ZeRO by whole tensors: FP8-LM, section 2.3 and algorithm 1).

use std::{collections::HashMap, mem, sync::Arc};

use fp8lm_collectives::{Algorithm, Owner, Rounding};
use fp8lm_device::{Collectives, Queue, Reduction, Result, Tensor};
use fp8lm_ops as ops;
use fp8lm_scaling::{Parameter, Share};

use crate::{FP8_GRADIENTS, GRADIENTS, SCALARS, WEIGHTS};

mod bucket;
mod replicas;

use bucket::{Bucket, Sum};

/// What ranks of data-parallel training share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// Nothing: each keeps all states.
    Off,
    /// Masters and moments (ZeRO stage 1).
    States,
    /// And the gradients, once they are summed (stage 2).
    Gradients,
}

/// How ranks of data-parallel training work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOptions {
    /// What they share.
    pub zero: Zero,
    /// How sums over ranks are made.
    pub algorithm: Algorithm,
    /// Bytes of gradients that are summed at once.
    pub bucket_bytes: usize,
    /// Sums in f32 by the binary tree over replicas, cast once, whatever the algorithm. Where each replica sums its
    /// micro-batches by the tree too ([`Gradient::combine_as_tree`](fp8lm_scaling::Gradient::combine_as_tree)), a power
    /// of two of replicas has the gradients of one that has all micro-batches, to the bit. They are sums, no means.
    pub deterministic: bool,
}

/// The ranks that one works with.
#[derive(Clone, Copy, Debug)]
pub struct DataGroups<'a> {
    /// Those with the same weights, of which each adds micro-batches of its own. They sum gradients, and share states.
    pub replicas: &'a Arc<dyn Collectives>,
    /// Those, and the ranks with the other shards of the weights, each with as many replicas: the same group, if
    /// weights are whole. They agree on what casts of gradients need and lose.
    pub peers: &'a Arc<dyn Collectives>,
}

impl<'a> DataGroups<'a> {
    /// Of ranks that have whole weights.
    pub fn whole(replicas: &'a Arc<dyn Collectives>) -> Self {
        Self { replicas, peers: replicas }
    }
}

/// This rank's part in data-parallel training.
#[derive(Debug)]
pub struct DataParallel {
    options: DataOptions,
    /// The rank that owns each parameter, by name.
    owners: HashMap<String, usize>,
    replicas: usize,
    gradients: Arc<dyn Collectives>,
    gradients_fp8: Arc<dyn Collectives>,
    weights: Arc<dyn Collectives>,
    scalars: Arc<dyn Collectives>,
    /// The peers, for amaxes and counters, and for the amaxes of sums in FP8.
    peers: Arc<dyn Collectives>,
    peers_fp8: Arc<dyn Collectives>,
    /// Where gradients are cast and summed, beside the backward pass.
    side: Queue,
    bucket: Bucket,
}

impl DataParallel {
    /// The part of this rank; `owners` has the replica that owns each of `parameters`, if states are shared: that of a
    /// shard owns every shard of the tensor. Drops what others own.
    ///
    /// Peers hand over shards of the same parameters in the same order. Where a rank has no other replica but peers,
    /// gradients are cast as shards of one tensor, and summed with nobody's.
    pub fn new(
        queue: &Queue,
        groups: DataGroups<'_>,
        options: DataOptions,
        parameters: &mut [&mut Parameter],
        owners: &[usize],
    ) -> Result<Self> {
        let DataGroups { replicas, peers } = groups;
        let (rank, ranks) = (replicas.rank(), replicas.size());
        for (index, parameter) in parameters.iter_mut().enumerate() {
            let is_owned = options.zero == Zero::Off || owners.get(index) == Some(&rank);
            let stays = is_owned || options.zero != Zero::Gradients;
            let share = match options.deterministic {
                true => Share { peers: peers.size() / ranks, stays, ..Share::default() },
                false => Share { rank, ranks, peers: peers.size(), stays },
            };
            parameter.gradient_mut().share(queue, share)?;
            if !is_owned {
                parameter.disown();
            }
        }
        let names = parameters.iter().map(|parameter| parameter.spec().name.clone());
        Ok(Self {
            options,
            owners: names.zip(owners.iter().copied()).collect(),
            replicas: ranks,
            gradients: replicas.labelled(GRADIENTS),
            gradients_fp8: replicas.labelled(FP8_GRADIENTS),
            weights: replicas.labelled(WEIGHTS),
            scalars: replicas.labelled(SCALARS),
            peers: peers.labelled(SCALARS),
            peers_fp8: peers.labelled(SCALARS),
            side: queue.fork()?,
            bucket: Bucket::default(),
        })
    }

    /// Whether each parameter's states are one rank's alone.
    pub fn shares_states(&self) -> bool {
        self.options.zero != Zero::Off
    }

    /// Takes a parameter whose gradient has all its micro-batches. Once there are enough of them, their sum over ranks
    /// begins.
    pub fn add(&mut self, queue: &Queue, parameter: &mut Parameter) -> Result<()> {
        if self.replicas == 1 {
            return parameter.gradient_mut().finish(queue);
        }
        let owner = match self.shares_states() {
            true => Owner::Rank(self.owner(parameter)),
            false => Owner::All,
        };
        self.bucket.push(parameter.gradient_mut().hand_out(queue)?, owner);
        if self.bucket.bytes() < self.options.bucket_bytes {
            return Ok(());
        }
        self.sum(queue)
    }

    /// Ends the sums: work on `queue` from now on sees them. Then the ranks agree on what casts have lost.
    pub fn finish(&mut self, queue: &Queue, parameters: &[&mut Parameter]) -> Result<()> {
        self.sum(queue)?;
        queue.wait(&self.side.record()?)?;
        let scaled = parameters.iter().map(|parameter| parameter.gradient());
        let counters = scaled.filter(|gradient| gradient.is_scaled());
        let counters: Vec<Tensor> =
            counters.flat_map(|gradient| gradient.counters().map(Tensor::clone)).collect();
        // Replicas that all have made one cast count it once.
        if self.options.deterministic && !self.shares_states() && self.gradients.rank() > 0 {
            counters.iter().try_for_each(|counter| ops::fill(queue, counter, 0.0))?;
        }
        ops::agree(queue, self.peers.as_ref(), Reduction::Sum, &counters)
    }

    /// Gives every rank the weights that their owners have stepped.
    pub fn gather(&self, queue: &Queue, parameters: &[&mut Parameter]) -> Result<()> {
        if !self.shares_states() {
            return Ok(());
        }
        let mut pending = Vec::new();
        for parameter in parameters {
            let owner = self.owner(parameter);
            // Codes first, then what multiplies them.
            let groups = [&self.weights, &self.scalars];
            for (tensor, group) in parameter.replica().into_iter().zip(groups) {
                pending.push(group.broadcast(queue, tensor.view(), owner)?);
            }
        }
        pending.into_iter().try_for_each(|pending| pending.wait(queue))?;
        parameters.iter().try_for_each(|parameter| parameter.receive(queue))
    }

    fn owner(&self, parameter: &Parameter) -> usize {
        self.owners.get(&parameter.spec().name).copied().unwrap_or(0)
    }

    /// Sums what is in the bucket, behind the work on `queue` so far.
    fn sum(&mut self, queue: &Queue) -> Result<()> {
        self.side.wait(&queue.record()?)?;
        let sum = Sum {
            plain: self.gradients.as_ref(),
            scaled: self.gradients_fp8.as_ref(),
            scaled_peers: self.peers_fp8.as_ref(),
            scalars: self.peers.as_ref(),
            rounding: match self.options.algorithm {
                Algorithm::RoundOnce => Rounding::Once,
                _ => Rounding::EachHop,
            },
            as_tree: self.options.deterministic,
        };
        mem::take(&mut self.bucket).sum(&self.side, sum)
    }
}
