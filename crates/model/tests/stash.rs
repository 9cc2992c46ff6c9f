//! What a stash holds is what is planned, to the byte.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Accounted, Alone, Label, Queue};
use fp8lm_model::{
    Activation, Gpt, GptStash, ModelConfig, NormKind, Recompute, Sequences, StashBytes, StashPlan,
};
use fp8lm_ops::ACTIVATIONS;
use fp8lm_scaling::{Gemm, NAMES, Override, Pass, Recipe, SCALES, Source, recipe};
use fp8lm_sim::Emulator;

const CONTEXT: usize = 10;
const BATCH: usize = 14;
const TOKENS: usize = BATCH * CONTEXT;

/// Ragged in tiles, along features as along tokens.
fn configs() -> [ModelConfig; 2] {
    let config = ModelConfig {
        layers: 2,
        width: 132,
        heads: 2,
        context: CONTEXT,
        mlp: 20,
        vocabulary: 24,
        ..Default::default()
    };
    let (norm, activation, tied_head) = (NormKind::Layer, Activation::Gelu, true);
    [config.clone(), ModelConfig { mlp: 130, norm, activation, tied_head, ..config }]
}

/// All of them, tiles of all sources, and a mixture.
fn recipes() -> Vec<Recipe> {
    let mut recipes: Vec<_> = NAMES.iter().map(|name| recipe(name).unwrap()).collect();
    for source in [Source::E5m6, Source::Values] {
        let mut recipe = recipe("deepseek-v3").unwrap();
        let Gemm::Fp8(casts) = &mut recipe.linears.gemm else { panic!("{recipe:?}") };
        casts.input.columns.as_mut().unwrap().from = source;
        casts.attention_output = None;
        recipe.name = format!("deepseek-v3, {source:?}");
        recipes.push(recipe);
    }
    let mut mixed = recipe("fp8lm-1").unwrap();
    let exception = |linear| Override { blocks: Some([1, 1]), linear, recipe: "bf16".into() };
    mixed.overrides = vec![exception(Some(fp8lm_scaling::Linear::Proj))];
    mixed.name = "mixed".into();
    recipes.push(mixed);
    recipes
}

fn plan<'a>(
    config: &'a ModelConfig,
    recipe: &'a Recipe,
    recompute: Recompute,
    tokens: usize,
) -> StashPlan<'a> {
    StashPlan { config, recipe, recompute, tokens, members: 1, sequence: false }
}

struct Books {
    device: Arc<Accounted>,
    queue: Queue,
    gpt: Gpt,
}

impl Books {
    fn new(plan: &StashPlan<'_>) -> Self {
        let device = Arc::new(Accounted::new(Arc::new(Emulator::default())));
        let queue = Queue::new(device.clone()).unwrap();
        let mut gpt = Gpt::new(&queue, plan.config, plan.recipe, 1).unwrap();
        gpt.set_recompute(plan.recompute);
        Self { device, queue, gpt }
    }

    fn forward(&mut self) -> GptStash {
        let text = |shift: usize| (0..TOKENS).map(|i| ((i * 7 + shift) % 24) as u32).collect();
        let upload = |tokens: Vec<u32>| self.queue.upload(&tokens, TOKENS, Label("text")).unwrap();
        let sequences =
            Sequences { tokens: upload(text(0)), targets: upload(text(1)), context: CONTEXT };
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
        self.gpt.end_step(&self.queue, &Alone).unwrap();
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
fn a_stash_holds_what_is_planned() {
    for recipe in recipes() {
        for config in configs() {
            for recompute in Recompute::ALL {
                let plan = plan(&config, &recipe, recompute, TOKENS);
                let blocks = (0..config.layers).map(|block| plan.block(block).unwrap());
                let planned = blocks.sum::<StashBytes>() + plan.tail();
                let held = Books::new(&plan).stash();
                assert_eq!(held, planned, "{}, {:?}, {recompute}", recipe.name, config.norm);
            }
        }
    }
}

/// Bytes a token of a block of Llama's shape, by hand: of width w, 8/3 w wide between.
#[test]
fn bytes_a_token_are_those_of_the_formulas() {
    let config = ModelConfig { width: 3072, mlp: 8192, heads: 24, ..ModelConfig::default() };
    let (w, m) = (3072, 8192);
    let statistics = 2 * 4 + 24 * 4;
    let (selective, full) = (2 * (2 * w + 3 * w + 2 * m), 2 * w);
    for (name, none) in [
        // Beside them the inputs of all four products, of which attention's output is one.
        ("bf16", selective + statistics + 2 * (3 * w + m)),
        // A byte for each of those, and attention's output in BF16.
        ("fp8lm-3", selective + statistics + 3 * w + m + 2 * w),
        // Three in a byte, attention's output in one and a half.
        ("deepseek-v3", selective + statistics + 2 * w + m + w * 3 / 2),
    ] {
        let recipe = recipe(name).unwrap();
        for (recompute, expected) in Recompute::ALL.into_iter().zip([none, selective, full]) {
            let plan = plan(&config, &recipe, recompute, 1);
            assert_eq!(plan.block(0).unwrap().activations, expected, "{name} {recompute}");
        }
    }
}
