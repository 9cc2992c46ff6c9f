//! Passes of micro-batches over the parts of the model that a rank has.

use std::cell::RefCell;

use fp8lm_device::Queue;
use fp8lm_parallel::{DataParallel, Pipeline, Program, Stage};

use super::{
    Groups, Parts,
    stage::{Context, ModelStage, Sums},
};
use crate::{Plan, Result};

/// How a rank's stages work through micro-batches.
#[derive(Debug)]
pub(super) struct Passes {
    program: Program,
    pipeline: Pipeline,
    /// Whether sums over ranks begin with the last micro-batch: where ranks with the same weights have them in one
    /// order, for they do the same.
    at_once: bool,
}

impl Passes {
    /// Those of a plan, on one of its ranks.
    pub(super) fn new(queue: &Queue, groups: &Groups, plan: &Plan) -> Result<Self> {
        let recipe = plan.recipe();
        let shape = [plan.residual_rows(), plan.model().width];
        let (channel, wire) = (groups.pipeline.as_ref(), recipe.wire.pipeline);
        let pipeline = Pipeline::new(queue, channel, shape, recipe.activations, wire)?;
        let at_once = plan.config().parallel.schedule.replicas() == 1;
        Ok(Self { program: plan.program()?, pipeline, at_once })
    }

    /// Adds the gradients of every micro-batch, and begins sums over ranks. Where these come at the end, gradients in
    /// FP8 are cast once more: they do not wait in f32.
    pub(super) fn learn(
        &self,
        queue: &Queue,
        parts: &mut Parts,
        context: Context<'_>,
        mut parallel: Option<&mut DataParallel>,
    ) -> Result<()> {
        let sums = parallel.as_deref_mut().filter(|_| self.at_once).map(RefCell::new);
        self.run(queue, &self.program, parts, context, sums.as_ref())?;
        let Some(parallel) = parallel.filter(|_| !self.at_once) else { return Ok(()) };
        let mut parameters = parts.parameters_mut().into_iter();
        Ok(parameters.try_for_each(|parameter| parallel.add(queue, parameter))?)
    }

    /// Looks at every micro-batch.
    pub(super) fn evaluate(
        &self,
        queue: &Queue,
        parts: &mut Parts,
        context: Context<'_>,
    ) -> Result<()> {
        let program = self.program.forwards(context.feed.micro_batches());
        self.run(queue, &program, parts, context, None)
    }

    fn run(
        &self,
        queue: &Queue,
        program: &Program,
        parts: &mut Parts,
        context: Context<'_>,
        sums: Option<&Sums<'_>>,
    ) -> Result<()> {
        let stage = |(part, gpt)| ModelStage::new(part, gpt, context, sums);
        let mut stages: Vec<_> = parts.chunks_mut().map(stage).collect();
        let mut stages: Vec<_> = stages.iter_mut().map(|stage| stage as &mut dyn Stage).collect();
        Ok(self.pipeline.run(queue, program, &mut stages)?)
    }
}
