//! Builds a small GPT in FP8, and takes the loss and one gradient of it.
//!
//! `cargo run -p fp8lm-model --example forward`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::sync::Arc;

use fp8lm_device::{Label, Queue};
use fp8lm_model::{Gpt, ModelConfig, Sequences};
use fp8lm_scaling::{Pass, recipe};

const TEXT: &[u8; 17] = b"in the beginning ";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
    let config =
        ModelConfig { layers: 2, width: 64, heads: 2, context: 16, mlp: 176, ..Default::default() };
    let mut gpt = Gpt::new(&queue, &config, &recipe("fp8lm-3")?, 42)?;

    let tokens: Vec<u32> = TEXT.iter().copied().map(u32::from).collect();
    let sequences = Sequences {
        tokens: queue.upload(&tokens[..16], 16, Label("batch"))?,
        targets: queue.upload(&tokens[1..], 16, Label("batch"))?,
        context: 16,
    };
    gpt.begin_step(&queue, 0)?;
    let (loss, stash) = gpt.forward(&queue, &sequences, 1.0 / 16.0, Pass::Train)?;
    gpt.backward(&queue, stash, &mut |_| Ok(()))?;

    let loss = queue.download::<f32>(&loss)?;
    println!("loss {:.4}, ln 256 = {:.4}", loss.iter().sum::<f32>() / 16.0, 256f32.ln());
    let embedding = gpt.parameters()[0];
    println!("gradient of {}: {:?}", embedding.spec().name, embedding.gradient().result());
    Ok(())
}
