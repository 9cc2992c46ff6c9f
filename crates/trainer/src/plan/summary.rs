//! The plan in a few lines.

use std::fmt;

use fp8lm_data::Sampling;
use fp8lm_model::{ModelConfig, Part};
use fp8lm_optim::Schedule;
use fp8lm_parallel::Partition;
use fp8lm_scaling::{Precision, Recipe};

use super::Plan;
use crate::text::{bytes, grouped, trimmed};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_model(f)?;
        self.fmt_recipe(f)?;
        self.fmt_tokens(f)?;
        if self.mesh.ranks() > 1 {
            self.fmt_ranks(f)?;
            self.fmt_owners(f)?;
        }
        if self.stages() > 1 {
            self.fmt_pipeline(f)?;
            self.fmt_places(f)?;
        }
        self.fmt_kept(f)?;
        self.fmt_schedule(f)
    }
}

/// The lines of the summary.
impl Plan {
    fn fmt_model(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelConfig { layers, width, heads, context, mlp, vocabulary, .. } = self.model();
        write!(f, "model     {} parameters: {layers} layers, ", grouped(self.parameters()))?;
        write!(f, "width {width}, {heads} heads, mlp {mlp}, context {context}, ")?;
        writeln!(f, "vocabulary {vocabulary}")
    }

    fn fmt_recipe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recipe { name, linears, overrides, .. } = &self.recipe;
        let Precision { gradient, master, first_moment, second_moment, .. } = linears;
        let bytes = trimmed(self.bytes_per_parameter());
        write!(f, "recipe    {name}, {bytes} bytes a linear parameter: ")?;
        if let Some(working) = linears.working {
            write!(f, "working {working}, ")?;
        }
        write!(f, "gradient {}, master {master}, ", gradient.format)?;
        write!(f, "moments {first_moment} and {second_moment}")?;
        match overrides.len() {
            0 => writeln!(f),
            1 => writeln!(f, ", 1 exception"),
            count => writeln!(f, ", {count} exceptions"),
        }
    }

    fn fmt_tokens(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sampling { batch, micro_batches, context, .. } = self.sampling();
        let (step, steps) = (self.tokens_per_step(), self.config.run.steps);
        let [all, step, steps] = [step.saturating_mul(steps), step, steps].map(grouped);
        write!(f, "tokens    {step} a step ({micro_batches} x {batch} sequences of {context}), ")?;
        writeln!(f, "{all} in {steps} steps")
    }

    fn fmt_ranks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.sampling_of_a_rank().batch;
        let sequences = if share == 1 { "sequence" } else { "sequences" };
        let ranks = grouped(self.mesh.ranks() as u64);
        write!(f, "ranks     {ranks}: {}; a micro-batch is {share} {sequences} each, ", self.mesh)?;
        if self.config.parallel.shares_tokens() {
            write!(f, "tensor ranks share its tokens, ")?;
        }
        write!(f, "gradients are summed by {}", self.config.parallel.algorithm)?;
        if self.config.parallel.deterministic {
            write!(f, " along one tree of {} micro-batches", self.config.data.micro_batches)?;
        }
        writeln!(f)
    }

    /// Idle is what the schedule's formula says of the rank that idles most.
    fn fmt_pipeline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, schedule) = (self.pipeline_shape(), self.config.parallel.schedule);
        let held = (0..shape.ranks).map(|rank| schedule.peak_activations(shape, rank));
        let (least, most) = (held.clone().min().unwrap_or(0), held.max().unwrap_or(0));
        let held = if least == most { most.to_string() } else { format!("{least} to {most}") };
        let blocks = self.model().layers / self.stages();
        let noun = if blocks == 1 { "block" } else { "blocks" };
        write!(f, "pipeline  {schedule}: {} stages of {blocks} {noun}; ", self.stages())?;
        let idle = trimmed(100.0 * self.idle());
        write!(
            f,
            "at most {idle} % of a step is idle if backward passes cost two forward passes; "
        )?;
        writeln!(f, "a rank holds {held} micro-batches of a stage at most")
    }

    /// What each place along the pipeline has of the model.
    fn fmt_places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.pipeline_shape().ranks;
        let told = (0..places.min(MOST_PLACES)).map(|place| self.stages.parts(place));
        let told = told.map(|parts| parts.iter().map(part).collect::<Vec<_>>().join(" and "));
        let more = if places > MOST_PLACES { " | ..." } else { "" };
        writeln!(f, "places    {}{more}", told.collect::<Vec<_>>().join(" | "))
    }

    fn fmt_owners(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions =
            || self.holdings.iter().filter_map(|holding| holding.sharing.partition.as_ref());
        let loads = || partitions().flat_map(|partition| partition.loads().iter().copied());
        let Some((least, most)) = loads().min().zip(loads().max()) else { return Ok(()) };
        let (zero, rule) = (self.config.parallel.zero, self.config.parallel.partition);
        let [least, most] = [least, most].map(bytes);
        let spread = partitions().map(Partition::spread).fold(0.0, f64::max);
        let spread = trimmed(100.0 * spread);
        writeln!(f, "owners    ZeRO {zero}, {rule}: {least} to {most} a rank, spread {spread} %")
    }

    fn fmt_kept(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = bytes(self.kept.iter().copied().min().unwrap_or(0));
        let most = bytes(self.kept.iter().copied().max().unwrap_or(0));
        let range = if least == most { most } else { format!("{least} to {most}") };
        let recompute = self.config.run.recompute;
        writeln!(f, "kept      at most {range} of activations a rank, recompute {recompute}")
    }

    fn fmt_schedule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule { peak, floor, warmup, .. } = self.schedule();
        let warmup = grouped(warmup);
        write!(f, "schedule  learning rate up to {peak:e} in {warmup} steps, cosine to {floor:e}")
    }
}

fn part(Part { blocks, first, last }: &Part) -> String {
    let front = if *first { "embedding, " } else { "" };
    let end = if *last { ", head" } else { "" };
    let blocks = match blocks.len() {
        1 => format!("block {}", blocks.start),
        _ => format!("blocks {} to {}", blocks.start, blocks.end - 1),
    };
    format!("{front}{blocks}{end}")
}

/// Places of a pipeline that a line has room for.
const MOST_PLACES: usize = 16;
