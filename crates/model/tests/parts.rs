//! Parts of a model do what the whole does, bit by bit.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{ops::Range, sync::Arc};

use fp8lm_device::{Label, Queue, Tensor};
use fp8lm_model::{Error, Gpt, ModelConfig, NormKind, Part, Sequences};
use fp8lm_scaling::{Pass, Recipe, recipe};
use fp8lm_sim::Emulator;

const SEED: u64 = 11;
const SCALE: f32 = 1.0 / 16.0;

#[derive(Clone, Copy, PartialEq)]
enum Gradients {
    Together,
    Apart,
}

fn config() -> ModelConfig {
    let norm = NormKind::Layer;
    ModelConfig { layers: 3, width: 32, heads: 2, context: 8, mlp: 48, norm, ..Default::default() }
}

fn part(config: &ModelConfig, blocks: Range<usize>) -> Part {
    let (first, last) = (blocks.start == 0, blocks.end == config.layers);
    Part { blocks, first, last }
}

fn sequences(queue: &Queue) -> Sequences {
    let text = |shift: u32| (0..16).map(|i| (i * 37 + shift) % 256).collect::<Vec<u32>>();
    let upload = |tokens: &[u32]| queue.upload(tokens, tokens.len(), Label("text")).unwrap();
    Sequences { tokens: upload(&text(5)), targets: upload(&text(42)), context: 8 }
}

/// The loss of each token, and every parameter's gradient by name, of two passes over the model in `parts`.
fn trained(recipe: &Recipe, parts: &[Part], gradients: Gradients) -> Vec<(String, Vec<u8>)> {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let build = |part| Gpt::part(&queue, &config(), recipe, SEED, part).unwrap();
    let mut parts: Vec<_> = parts.iter().map(build).collect();
    let mut results = Vec::new();
    for gpt in &mut parts {
        gpt.begin_step(&queue, 0).unwrap();
    }
    for pass in 0..2 {
        let loss = pass_through(&queue, &mut parts, gradients);
        results.push((format!("loss {pass}"), queue.download_bytes(&loss).unwrap()));
    }
    for parameter in parts.iter_mut().flat_map(Gpt::parameters_mut) {
        let name = parameter.spec().name.clone();
        let gradient = parameter.gradient_mut();
        gradient.finish(&queue).unwrap();
        results.push((name, queue.download_bytes(gradient.result()).unwrap()));
    }
    results
}

fn pass_through(queue: &Queue, parts: &mut [Gpt], gradients: Gradients) -> Tensor {
    let sequences = sequences(queue);
    let (mut x, mut stashes) = (None, Vec::new());
    for gpt in &mut *parts {
        let (y, stash) =
            gpt.forward_part(queue, &sequences, x.as_ref(), SCALE, Pass::Train).unwrap();
        x = Some(y);
        stashes.push(stash);
    }
    let (mut dy, mut pending) = (None, Vec::new());
    for (gpt, stash) in parts.iter_mut().zip(stashes).rev() {
        dy = Some(match gradients {
            Gradients::Together => {
                gpt.backward_part(queue, stash, dy.as_ref(), &mut |_| Ok(())).unwrap()
            }
            Gradients::Apart => {
                let (dx, rest) = gpt.input_gradient(queue, stash, dy.as_ref()).unwrap();
                pending.push(rest);
                dx
            }
        });
    }
    for (gpt, pending) in parts.iter_mut().rev().zip(pending) {
        gpt.weight_gradient(queue, pending, &mut |_| Ok(())).unwrap();
    }
    x.unwrap()
}

#[test]
fn parts_have_the_weights_and_gradients_of_the_whole() {
    let config = config();
    for name in ["fp32", "bf16", "fp8lm-1", "fp8lm-3", "deepseek-v3"] {
        let recipe = recipe(name).unwrap();
        let whole = trained(&recipe, &[Part::whole(&config)], Gradients::Together);
        for cuts in [vec![0, 1, 3], vec![0, 2, 3], vec![0, 1, 2, 3]] {
            let parts: Vec<_> = cuts.windows(2).map(|w| part(&config, w[0]..w[1])).collect();
            for gradients in [Gradients::Together, Gradients::Apart] {
                let found = trained(&recipe, &parts, gradients);
                assert_eq!(found.len(), whole.len(), "{name} {cuts:?}");
                for ((name_found, found), (name_whole, whole)) in found.iter().zip(&whole) {
                    assert_eq!(name_found, name_whole, "{name} {cuts:?}");
                    assert!(found == whole, "{name} {cuts:?}: {name_whole} differs");
                }
            }
        }
    }
}

/// As a step of training hands parameters to the ranks' sums. A table for both ends comes once, with both gradients.
#[test]
fn each_parameter_is_handed_on_once_and_after_its_gradient() {
    for (tied_head, first) in [(false, "head"), (true, "norm.gain")] {
        let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
        let config = ModelConfig { tied_head, ..config() };
        let mut gpt = Gpt::new(&queue, &config, &recipe("fp32").unwrap(), SEED).unwrap();
        let orders = [Gradients::Together, Gradients::Apart]
            .map(|gradients| handed_on(&queue, &mut gpt, gradients));
        assert_eq!(orders[0], orders[1]);
        let ends = [&orders[0][0], orders[0].last().unwrap()];
        assert_eq!(ends, [first, "embedding"]);
        let [mut found, mut all] = [orders[0].clone(), names(&gpt)];
        found.sort();
        all.sort();
        assert_eq!(found, all);
    }
}

/// The names of parameters in the order in which they are handed on.
fn handed_on(queue: &Queue, gpt: &mut Gpt, gradients: Gradients) -> Vec<String> {
    gpt.begin_step(queue, 0).unwrap();
    let (_, stash) = gpt.forward(queue, &sequences(queue), SCALE, Pass::Train).unwrap();
    let mut order = Vec::new();
    let mut added = |parameter: &mut fp8lm_scaling::Parameter| {
        order.push(parameter.spec().name.clone());
        Ok(())
    };
    if gradients == Gradients::Together {
        gpt.backward(queue, stash, &mut added).unwrap();
    } else {
        let (_, pending) = gpt.input_gradient(queue, stash, None).unwrap();
        gpt.weight_gradient(queue, pending, &mut added).unwrap();
    }
    order
}

fn names(gpt: &Gpt) -> Vec<String> {
    gpt.parameters().iter().map(|parameter| parameter.spec().name.clone()).collect()
}

#[test]
fn what_a_part_cannot_do_is_told() {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let recipe = recipe("bf16").unwrap();
    let told = |config: &ModelConfig, part| {
        Gpt::part(&queue, config, &recipe, SEED, &part).unwrap_err().to_string()
    };
    let config = config();
    assert_eq!(
        told(&config, part(&config, 2..4)),
        "a part of a model: expected some of its blocks 0 to 3, got 2 to 4"
    );
    assert_eq!(
        told(&ModelConfig { tied_head: true, ..config.clone() }, part(&config, 0..2)),
        "model.tied_head: a head that shares the embedding's weights stands in one part of the model with it"
    );
    let mut last = Gpt::part(&queue, &config, &recipe, SEED, &part(&config, 2..3)).unwrap();
    let forward = last.forward(&queue, &sequences(&queue), SCALE, Pass::Train);
    assert!(matches!(forward, Err(Error::NoInput)));
    let mut first = Gpt::part(&queue, &config, &recipe, SEED, &part(&config, 0..1)).unwrap();
    let (_, stash) = first.forward(&queue, &sequences(&queue), SCALE, Pass::Train).unwrap();
    let backward = first.backward(&queue, stash, &mut |_| Ok(()));
    assert!(matches!(backward, Err(Error::NoGradient)));
}
