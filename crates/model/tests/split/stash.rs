//! What a member's stash holds is what is planned, to the byte.

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{Accounted, Queue, Result};
use fp8lm_model::{
    Build, Gpt, GptStash, ModelConfig, Part, Recompute, Sequences, Split, StashBytes, StashPlan,
};
use fp8lm_ops::ACTIVATIONS;
use fp8lm_scaling::{Gemm, Pass, Recipe, SCALES, Source, recipe};
use fp8lm_sim::{Rank, Streams};

use crate::common::{Sharing, TEST};

const CONTEXT: usize = 10;
const TOKENS: usize = 14 * CONTEXT;

/// Heads and features of a member are ragged in tiles.
fn config() -> ModelConfig {
    let (width, heads, context, mlp, vocabulary) = (264, 4, CONTEXT, 20, 24);
    ModelConfig { layers: 1, width, heads, context, mlp, vocabulary, ..Default::default() }
}

fn recipes() -> Vec<Recipe> {
    let mut values = recipe("deepseek-v3").unwrap();
    let Gemm::Fp8(casts) = &mut values.linears.gemm else { panic!("{values:?}") };
    casts.input.columns.as_mut().unwrap().from = Source::Values;
    values.name = "deepseek-v3, columns from values".into();
    let named = ["bf16", "te", "fp8lm-3", "deepseek-v3"].map(|name| recipe(name).unwrap());
    named.into_iter().chain([values]).collect()
}

struct Books {
    device: Arc<Accounted>,
    queue: Queue,
    split: Split,
    gpt: Gpt,
}

impl Books {
    fn new(rank: Rank, plan: &StashPlan<'_>) -> Self {
        let device = Arc::new(Accounted::new(rank.device));
        let queue = Queue::new(device.clone()).unwrap();
        let group = Composed::new(rank.link, &queue, Algorithm::RoundOnce).unwrap();
        let split = Split::new(Arc::new(group), plan.sequence);
        let build = Build { seed: 1, part: Part::whole(plan.config), split: split.clone() };
        let mut gpt = Gpt::build(&queue, plan.config, plan.recipe, build).unwrap();
        gpt.set_recompute(plan.recompute);
        Self { device, queue, split, gpt }
    }

    fn forward(&mut self) -> GptStash {
        let text = |shift: usize| (0..TOKENS).map(|i| ((i * 7 + shift) % 24) as u32).collect();
        let upload = |tokens: Vec<u32>| self.queue.upload(&tokens, TOKENS, TEST).unwrap();
        let (tokens, targets) = (upload(text(0)), upload(text(1)));
        let sequences = Sequences { tokens, targets, context: CONTEXT };
        self.gpt.forward(&self.queue, &sequences, 1.0, Pass::Train).unwrap().1
    }

    fn bytes(&self) -> StashBytes {
        self.queue.synchronize().unwrap();
        let usage = self.device.usage();
        let bytes = |label| usage.get(&label).map_or(0, |usage| usage.bytes as u64);
        StashBytes { activations: bytes(ACTIVATIONS), scales: bytes(SCALES) }
    }

    /// What becomes free with a stash of the second step. Another forward pass stands between, for meters hold on to
    /// the scales of their last cast.
    fn stash(&mut self) -> StashBytes {
        self.gpt.begin_step(&self.queue, 0).unwrap();
        drop(self.forward());
        self.gpt.end_step(&self.queue, &**self.split.group()).unwrap();
        self.gpt.begin_step(&self.queue, 1).unwrap();
        let (first, _second) = (self.forward(), self.forward());
        let before = self.bytes();
        drop(first);
        let after = self.bytes();
        StashBytes {
            activations: before.activations - after.activations,
            scales: before.scales - after.scales,
        }
    }
}

#[test]
fn a_stash_of_every_member_holds_what_is_planned() {
    let config = config();
    for recipe in recipes() {
        for (members, sequence) in [(2, false), (2, true)] {
            let world = Sharing { members, sequence, streams: Streams::InOrder }.world();
            for recompute in Recompute::ALL {
                let (config, recipe, tokens) = (&config, &recipe, TOKENS);
                let plan = StashPlan { config, recipe, recompute, tokens, members, sequence };
                let planned = plan.block(0).unwrap() + plan.tail();
                let stash = |rank| -> Result<_> { Ok(Books::new(rank, &plan).stash()) };
                let held = world.run(stash).unwrap();
                let about = format!("{}, {recompute}, sequence {sequence}", recipe.name);
                assert_eq!(held, vec![planned; members], "{about}");
            }
        }
    }
}
