//! What a micro-batch of the quickstart keeps for its backward pass, planned and measured:
//! `cargo run --release -p fp8lm-benches --example activation_memory`.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{error::Error, sync::Arc};

use fp8lm_device::{Accounted, Label, Queue};
use fp8lm_model::{Gpt, Recompute, Sequences, StashBytes, StashPlan};
use fp8lm_ops::ACTIVATIONS;
use fp8lm_scaling::{Pass, Recipe, recipe};
use fp8lm_sim::Emulator;
use fp8lm_trainer::{Config, Plan};

const RECIPES: [&str; 3] = ["bf16", "fp8lm-3", "deepseek-v3"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("| recipe | recompute | a block, bytes a token | all blocks and tail | held | peak |");
    println!("|---|---|---|---|---|---|");
    let plan = Plan::new(Config::load("quickstart", None, &[])?)?;
    for name in RECIPES {
        let recipe = recipe(name)?;
        for recompute in Recompute::ALL {
            print_row(&plan, &recipe, recompute)?;
        }
    }
    Ok(())
}

fn print_row(plan: &Plan, recipe: &Recipe, recompute: Recompute) -> Result<(), Box<dyn Error>> {
    let (config, tokens) = (plan.model(), plan.config().data.batch * plan.model().context);
    let stash = StashPlan { config, recipe, recompute, tokens, members: 1, sequence: false };
    let blocks = (0..config.layers).map(|block| stash.block(block));
    let planned = blocks.sum::<Result<StashBytes, _>>()? + stash.tail();
    let block = stash.block(0)?;
    let a_token = (block.activations + block.scales) as f64 / tokens as f64;
    let [held, peak] = measured(&stash)?;
    let planned = planned.activations;
    println!("| `{}` | {recompute} | {a_token:.0} | {planned} | {held} | {peak} |", recipe.name);
    Ok(())
}

/// Bytes of activations beyond those between micro-batches: behind the forward pass, less the losses, and at most until
/// the backward pass ends.
fn measured(plan: &StashPlan<'_>) -> Result<[usize; 2], Box<dyn Error>> {
    let device = Arc::new(Accounted::new(Arc::new(Emulator::default())));
    let queue = Queue::new(device.clone())?;
    let mut gpt = Gpt::new(&queue, plan.config, plan.recipe, 1)?;
    gpt.set_recompute(plan.recompute);
    gpt.begin_step(&queue, 0)?;
    let usage = || device.usage()[&ACTIVATIONS];
    let before = usage().bytes;
    let text: Vec<u32> = (0..=plan.tokens as u32).map(|i| i * 7919 % 256).collect();
    let upload = |text: &[u32]| queue.upload(text, plan.tokens, Label("batch"));
    let (tokens, targets) = (upload(&text[..plan.tokens])?, upload(&text[1..])?);
    let sequences = Sequences { tokens, targets, context: plan.config.context };
    let (losses, stash) = gpt.forward(&queue, &sequences, 1.0, Pass::Train)?;
    drop(losses);
    queue.synchronize()?;
    let held = usage().bytes - before;
    gpt.backward(&queue, stash, &mut |parameter| parameter.gradient_mut().fold(&queue))?;
    queue.synchronize()?;
    Ok([held, usage().peak - before])
}
