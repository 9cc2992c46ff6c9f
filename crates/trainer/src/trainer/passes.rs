//! Passes of micro-batches over the parts of the model that a rank has.

use fp8lm_device::Queue;
use fp8lm_parallel::{DataParallel, Pipeline, Program, Stage};

use super::{
    Groups, Parts,
    stage::{Context, ModelStage},
};
use crate::{Plan, Result};

/// How a rank's stages work through micro-batches.
#[derive(Debug)]
pub(super) struct Passes {
    program: Program,
    pipeline: Pipeline,
}

impl Passes {
    /// Those of a plan, on one of its ranks.
    pub(super) fn new(queue: &Queue, groups: &Groups, plan: &Plan) -> Result<Self> {
        let recipe = plan.recipe();
        let shape = [plan.residual_rows(), plan.model().width];
        let (channel, wire) = (groups.pipeline.as_ref(), recipe.wire.pipeline);
        let pipeline = Pipeline::new(queue, channel, shape, recipe.activations, wire)?;
        Ok(Self { program: plan.program()?, pipeline })
    }

    /// Adds the gradients of every micro-batch. If the rank has one stage and nobody to wait for, sums over ranks begin
    /// with the last one; else they come at the end, when ranks with the same weights have them in the same order.
    pub(super) fn learn(
        &self,
        queue: &Queue,
        parts: &mut Parts,
        context: Context<'_>,
        mut parallel: Option<&mut DataParallel>,
    ) -> Result<()> {
        let at_once = self.program.stages() == 1;
        let sums = parallel.as_deref_mut().filter(|_| at_once);
        self.run(queue, &self.program, parts, context, sums)?;
        let Some(parallel) = parallel.filter(|_| !at_once) else { return Ok(()) };
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
        mut sums: Option<&mut DataParallel>,
    ) -> Result<()> {
        let stage = |(part, gpt)| ModelStage::new(part, gpt, context, sums.take());
        let mut stages: Vec<_> = parts.chunks_mut().map(stage).collect();
        let mut stages: Vec<_> = stages.iter_mut().map(|stage| stage as &mut dyn Stage).collect();
        Ok(self.pipeline.run(queue, program, &mut stages)?)
    }
}
