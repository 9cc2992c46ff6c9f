//! What is computed again in the backward pass changes no bit.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Alone, Label, Queue};
use fp8lm_model::{Activation, Gpt, GptStash, ModelConfig, NormKind, Recompute, Sequences};
use fp8lm_scaling::{NAMES, Pass, Recipe, recipe};
use fp8lm_sim::Emulator;

const SCALE: f32 = 1.0 / 32.0;

#[derive(Clone, Copy, Debug)]
enum Gradients {
    Together,
    Apart,
}

/// Norms and activation functions have nothing to do with one another: two shapes have all of both.
fn configs() -> [ModelConfig; 2] {
    let config =
        ModelConfig { layers: 2, width: 32, heads: 2, context: 8, mlp: 48, ..Default::default() };
    let (norm, activation, tied_head) = (NormKind::Layer, Activation::Gelu, true);
    [config.clone(), ModelConfig { norm, activation, tied_head, ..config }]
}

fn sequences(queue: &Queue, micro_batch: u32) -> Sequences {
    let text =
        |shift: u32| (0..16).map(|i| (i * 37 + shift + 91 * micro_batch) % 256).collect::<Vec<_>>();
    let upload = |tokens: &[u32]| queue.upload(tokens, tokens.len(), Label("text")).unwrap();
    Sequences { tokens: upload(&text(5)), targets: upload(&text(42)), context: 8 }
}

/// Two steps, so that delayed scales are primed in the second, of two micro-batches that are under way at once: the
/// loss of each token, every gradient, and what was counted and recorded of every cast.
fn trained(
    recipe: &Recipe,
    config: &ModelConfig,
    recompute: Recompute,
    gradients: Gradients,
) -> Vec<(String, Vec<u8>)> {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let mut gpt = Gpt::new(&queue, config, recipe, 5).unwrap();
    gpt.set_recompute(recompute);
    let mut results = Vec::new();
    for step in 0..2 {
        gpt.begin_step(&queue, step).unwrap();
        let stashes: Vec<_> = (0..2)
            .map(|micro_batch| {
                let sequences = sequences(&queue, micro_batch);
                let (loss, stash) = gpt.forward(&queue, &sequences, SCALE, Pass::Train).unwrap();
                let loss = queue.download_bytes(&loss).unwrap();
                results.push((format!("step {step}, loss {micro_batch}"), loss));
                stash
            })
            .collect();
        stashes.into_iter().for_each(|stash| backward(&queue, &mut gpt, stash, gradients));
        results.extend(gradients_of(&queue, &mut gpt));
        results.extend(traces(&queue, &mut gpt));
        gpt.end_step(&queue, &Alone).unwrap();
    }
    for (name, tensor) in gpt.state() {
        results.push((name, queue.download_bytes(&tensor).unwrap()));
    }
    results
}

fn backward(queue: &Queue, gpt: &mut Gpt, stash: GptStash, gradients: Gradients) {
    match gradients {
        Gradients::Together => gpt.backward(queue, stash, &mut |_| Ok(())).unwrap(),
        Gradients::Apart => {
            let (_, pending) = gpt.input_gradient(queue, stash, None).unwrap();
            gpt.weight_gradient(queue, pending, &mut |_| Ok(())).unwrap();
        }
    }
}

fn gradients_of(queue: &Queue, gpt: &mut Gpt) -> Vec<(String, Vec<u8>)> {
    let parameters = gpt.parameters_mut().into_iter();
    let gradient = parameters.map(|parameter| {
        let name = format!("gradient of {}", parameter.spec().name);
        let gradient = parameter.gradient_mut();
        gradient.finish(queue).unwrap();
        (name, queue.download_bytes(gradient.result()).unwrap())
    });
    gradient.collect()
}

/// The meters of all casts: amaxes, elements, saturated and underflowed ones, scales.
fn traces(queue: &Queue, gpt: &mut Gpt) -> Vec<(String, Vec<u8>)> {
    let quantizers = gpt.quantizers().into_iter();
    let trace = quantizers.map(|(name, kind, quantizer)| {
        let amax = queue.download::<f32>(quantizer.meter().amax()).unwrap();
        let reading = quantizer.meter().read(queue).unwrap();
        let trace = format!("{amax:?} {reading:?}");
        (format!("casts of {name}, {}", kind.name()), trace.into_bytes())
    });
    trace.collect()
}

#[test]
fn losses_gradients_and_traces_are_the_same_bits() {
    for name in NAMES {
        let recipe = recipe(name).unwrap();
        for config in configs() {
            let whole = trained(&recipe, &config, Recompute::None, Gradients::Together);
            for recompute in Recompute::ALL {
                for gradients in [Gradients::Together, Gradients::Apart] {
                    let found = trained(&recipe, &config, recompute, gradients);
                    let case = format!(
                        "{name}, {:?}, {:?}, {recompute}, {gradients:?}",
                        config.norm, config.activation
                    );
                    assert_eq!(found.len(), whole.len(), "{case}");
                    for ((found_name, found), (name, whole)) in found.iter().zip(&whole) {
                        assert_eq!(found_name, name, "{case}");
                        assert!(found == whole, "{case}: {name} differs");
                    }
                }
            }
        }
    }
}
