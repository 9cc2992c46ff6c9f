//! The model in training, and the gradients that ranks would have at its weights.

use std::{collections::BTreeMap, sync::Arc};

use fp8lm_data::{Batch, Batches, Corpus, Sampling, Split};
use fp8lm_device::{Alone, Label, Queue, Tensor};
use fp8lm_model::{Gpt, Sequences};
use fp8lm_optim::AdamW;
use fp8lm_scaling::{Gemm, Parameter, Pass, Recipe, recipe};
use fp8lm_trainer::{Config, Plan};

use super::Outcome;

/// The quickstart in training on one rank.
pub(super) struct Training {
    queue: Queue,
    plan: Plan,
    gpt: Gpt,
    optimizer: AdamW,
    batches: Batches,
    /// The same model with gradients in f32, which takes up the weights of each step.
    probe: Gpt,
    /// A sequence for every rank.
    sequences: Batches,
    step: u64,
}

/// What ranks would reduce: the gradient of one weight on each of them.
pub(super) struct Gradients {
    /// Which linear of a block it is of.
    pub(super) kind: &'static str,
    /// In f32, a vector for each rank.
    pub(super) ranks: Vec<Vec<f32>>,
}

impl Training {
    pub(super) fn new(queue: Queue) -> Outcome<Self> {
        let plan = Plan::new(Config::load("quickstart", None, &[])?)?;
        let (config, seed) = (plan.config(), plan.config().run.seed);
        let gpt = Gpt::new(&queue, &config.model, plan.recipe(), seed)?;
        let probe = Gpt::new(&queue, &config.model, &with_plain_gradients(plan.recipe())?, seed)?;
        let optimizer = AdamW::new(&queue, plan.options(), &gpt.parameters())?;
        let corpus = Arc::new(Corpus::king_james(config.data.tokenizer)?);
        let split = Split::new(corpus.len(), config.data.validation)?;
        let batches = Batches::new(&corpus, &split, plan.sampling())?;
        let one_each =
            Sampling { batch: 1, micro_batches: MOST_RANKS, seed: seed + 1, ..plan.sampling() };
        let sequences = Batches::new(&corpus, &split, one_each)?;
        Ok(Self { queue, plan, gpt, optimizer, batches, probe, sequences, step: 0 })
    }

    /// One step on one rank, as `fp8lm train` takes it.
    pub(super) fn step(&mut self) -> Outcome<()> {
        let Sampling { batch, context, .. } = self.plan.sampling();
        let mut rows = Batch::new(batch, context);
        self.batches.fill(self.step, 0, &mut rows)?;
        self.gpt.begin_step(&self.queue, self.step)?;
        backward(&self.queue, &mut self.gpt, &rows)?;
        let learning_rate = self.plan.schedule().learning_rate(self.step);
        let parameters = &mut self.gpt.parameters_mut();
        let _ = self.optimizer.step(&self.queue, parameters, learning_rate)?;
        self.gpt.end_step(&self.queue, &Alone)?;
        self.step += 1;
        Ok(())
    }

    /// The gradients of all linears at the weights as they are, before any cast to FP8: rank r's from a sequence of
    /// its own, as the mean over the sequence's tokens.
    pub(super) fn gradients(&mut self, ranks: usize) -> Outcome<Vec<Gradients>> {
        copy_state(&self.queue, &mut self.gpt, &mut self.probe)?;
        self.probe.restore(&self.queue, self.step)?;
        let mut gradients: Vec<Gradients> =
            linears(&self.probe).map(Gradients::of_no_rank).collect();
        let mut rows = Batch::new(1, self.plan.sampling().context);
        for rank in 0..ranks {
            self.sequences.fill(self.step, rank, &mut rows)?;
            self.probe.begin_step(&self.queue, self.step)?;
            backward(&self.queue, &mut self.probe, &rows)?;
            for (gradients, linear) in gradients.iter_mut().zip(linears(&self.probe)) {
                gradients.ranks.push(self.queue.download(linear.gradient().result())?);
            }
        }
        Ok(gradients)
    }
}

impl Gradients {
    fn of_no_rank(linear: &Parameter) -> Self {
        let name = &linear.spec().name;
        let kind = KINDS.into_iter().find(|kind| name.ends_with(kind));
        Self { kind: kind.expect("a linear is of one of these kinds"), ranks: Vec::new() }
    }
}

fn with_plain_gradients(scaled: &Recipe) -> Outcome<Recipe> {
    let mut plain = scaled.clone();
    plain.linears.gradient = recipe("fp32")?.linears.gradient;
    Ok(plain)
}

/// The weights that are multiplied in FP8.
fn linears(gpt: &Gpt) -> impl Iterator<Item = &Parameter> {
    let is_linear = |p: &&Parameter| matches!(p.spec().precision.gemm, Gemm::Fp8(_));
    gpt.parameters().into_iter().filter(is_linear)
}

/// Adds the gradients of the mean loss over all tokens of a batch.
fn backward(queue: &Queue, gpt: &mut Gpt, rows: &Batch) -> Outcome<()> {
    let tokens = rows.inputs.len();
    let upload = |tokens: &[u32]| queue.upload(tokens, tokens.len(), Label("batch"));
    let context = gpt.config().context;
    let sequences =
        Sequences { tokens: upload(&rows.inputs)?, targets: upload(&rows.targets)?, context };
    let (_, stash) = gpt.forward(queue, &sequences, 1.0 / tokens as f32, Pass::Train)?;
    Ok(gpt.backward(queue, stash, &mut |parameter| parameter.gradient_mut().fold(queue))?)
}

/// Everything that `to` keeps, from the tensor of the same name of `from`.
fn copy_state(queue: &Queue, from: &mut Gpt, to: &mut Gpt) -> Outcome<()> {
    let from: BTreeMap<String, Tensor> = from.state().into_iter().collect();
    for (name, tensor) in to.state() {
        queue.copy(from.get(&name).ok_or(name)?, &tensor)?;
    }
    Ok(())
}

/// The linears of a block, by the ends of their names.
pub(super) const KINDS: [&str; 4] = ["qkv", "proj", "up", "down"];

/// Ranks that a step has sequences for.
pub(super) const MOST_RANKS: usize = 128;
