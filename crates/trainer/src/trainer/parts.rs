//! The parts of the model that a rank has.

use fp8lm_device::{Collectives, Queue, Tensor};
use fp8lm_model::{Build, Gpt, Kind, Part, Split};
use fp8lm_scaling::{Parameter, Quantizer};

use super::Groups;
use crate::{Plan, Result};

/// The parts of the model that a rank has.
#[derive(Debug)]
pub(crate) struct Parts {
    /// In the order of the rank's chunks.
    parts: Vec<(Part, Gpt)>,
}

impl Parts {
    /// Those of a rank of the plan, with initial weights.
    pub(super) fn new(queue: &Queue, groups: &Groups, plan: &Plan) -> Result<Self> {
        let (model, recipe, run) = (plan.model(), plan.recipe(), &plan.config().run);
        let split = Split::new(groups.tensor.clone(), plan.config().parallel.sequence);
        let parts = plan.parts(groups.world.rank())?.into_iter().map(|part| {
            let build = Build { seed: run.seed, part: part.clone(), split: split.clone() };
            let mut gpt = Gpt::build(queue, model, recipe, build)?;
            gpt.set_recompute(run.recompute);
            if plan.config().parallel.deterministic {
                gpt.combine_as_tree(plan.micro_batches_of_a_replica());
            }
            Ok((part, gpt))
        });
        Ok(Self { parts: parts.collect::<Result<_>>()? })
    }

    /// Each in the order of chunks.
    pub(super) fn chunks_mut(&mut self) -> impl Iterator<Item = (&Part, &mut Gpt)> {
        self.parts.iter_mut().map(|(part, gpt)| (&*part, gpt))
    }

    /// All parameters, in the order of the model, whatever the order of chunks.
    pub(crate) fn parameters(&self) -> Vec<&Parameter> {
        let mut parts: Vec<_> = self.parts.iter().collect();
        parts.sort_by_key(|(part, _)| part.blocks.start);
        parts.into_iter().flat_map(|(_, gpt)| gpt.parameters()).collect()
    }

    /// All parameters, in the same order, to step.
    pub(crate) fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        self.in_order().into_iter().flat_map(Gpt::parameters_mut).collect()
    }

    /// Every cast that linears make, with the name of its weight.
    pub(crate) fn quantizers(&mut self) -> Vec<(String, Kind, &mut Quantizer)> {
        self.in_order().into_iter().flat_map(Gpt::quantizers).collect()
    }

    /// The tensors that a resumed run needs, by name.
    pub(crate) fn state(&mut self) -> Vec<(String, Tensor)> {
        self.in_order().into_iter().flat_map(Gpt::state).collect()
    }

    /// Takes up what was written into [`state`](Self::state)'s tensors, before step `step`.
    pub(crate) fn restore(&mut self, queue: &Queue, step: u64) -> Result<()> {
        Ok(self.in_order().into_iter().try_for_each(|gpt| gpt.restore(queue, step))?)
    }

    /// Starts a step, counted from 0.
    pub(super) fn begin_step(&mut self, queue: &Queue, step: u64) -> Result<()> {
        Ok(self.in_order().into_iter().try_for_each(|gpt| gpt.begin_step(queue, step))?)
    }

    /// Ends a step: delayed scales are made anew from what any of `peers` has seen.
    pub(super) fn end_step(&mut self, queue: &Queue, peers: &dyn Collectives) -> Result<()> {
        Ok(self.in_order().into_iter().try_for_each(|gpt| gpt.end_step(queue, peers))?)
    }

    /// In the order of the model, in which ranks with the same parts agree.
    fn in_order(&mut self) -> Vec<&mut Gpt> {
        let mut parts: Vec<_> = self.parts.iter_mut().collect();
        parts.sort_by_key(|(part, _)| part.blocks.start);
        parts.into_iter().map(|(_, gpt)| gpt).collect()
    }
}
