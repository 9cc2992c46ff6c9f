//! The gradient of the whole model against differences of its loss.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Label, Queue};
use fp8lm_model::{Activation, Gpt, ModelConfig, NormKind, Sequences};
use fp8lm_scaling::{Pass, recipe};
use fp8lm_sim::Emulator;

const CONTEXT: usize = 8;
const TOKENS: usize = 2 * CONTEXT;

fn config(norm: NormKind, activation: Activation, tied_head: bool) -> ModelConfig {
    ModelConfig {
        layers: 2,
        width: 16,
        heads: 2,
        context: CONTEXT,
        mlp: 24,
        vocabulary: 32,
        norm,
        activation,
        tied_head,
        ..ModelConfig::default()
    }
}

struct Fixture {
    queue: Queue,
    gpt: Gpt,
    sequences: Sequences,
}

fn fixture(config: &ModelConfig) -> Fixture {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let mut gpt = Gpt::new(&queue, config, &recipe("fp32").unwrap(), 1).unwrap();
    enlarge(&queue, &mut gpt);
    let token = |i: usize| (i * i * 7 + 3 * i) as u32 % 32;
    let upload = |first: usize| {
        let tokens: Vec<u32> = (first..first + TOKENS).map(token).collect();
        queue.upload(&tokens, TOKENS, Label("batch")).unwrap()
    };
    let sequences = Sequences { tokens: upload(0), targets: upload(1), context: CONTEXT };
    Fixture { queue, gpt, sequences }
}

/// Initial weights are so small that everything is nearly linear; larger ones test more.
fn enlarge(queue: &Queue, gpt: &mut Gpt) {
    for parameter in gpt.parameters().into_iter().filter(|parameter| parameter.spec().decays) {
        let values = queue.download::<f32>(&parameter.master().values).unwrap();
        let values: Vec<f32> = values.iter().map(|value| 10.0 * value).collect();
        queue.write(&values, &parameter.master().values).unwrap();
    }
}

impl Fixture {
    fn loss(&mut self) -> f64 {
        let forward = self.gpt.forward(&self.queue, &self.sequences, 1.0, Pass::Evaluate);
        let losses = self.queue.download::<f32>(&forward.unwrap().0).unwrap();
        losses.into_iter().map(f64::from).sum()
    }

    fn gradients(&mut self) -> Vec<Vec<f32>> {
        self.gpt.begin_step(&self.queue, 0).unwrap();
        let forward = self.gpt.forward(&self.queue, &self.sequences, 1.0, Pass::Train).unwrap();
        self.gpt.backward(&self.queue, forward.1, &mut |_| Ok(())).unwrap();
        let gradients = self.gpt.parameters().into_iter().map(|p| p.gradient().result());
        gradients.map(|gradient| self.queue.download(gradient).unwrap()).collect()
    }

    /// The loss with parameter `index` moved by `distance` along `direction`.
    fn moved(&mut self, index: usize, direction: &[f32], distance: f32) -> f64 {
        let master = self.gpt.parameters()[index].master().values.clone();
        let values = self.queue.download::<f32>(&master).unwrap();
        let step = values.iter().zip(direction).map(|(value, d)| value + distance * d);
        self.queue.write(&step.collect::<Vec<_>>(), &master).unwrap();
        let loss = self.loss();
        self.queue.write(&values, &master).unwrap();
        loss
    }
}

/// Along each parameter's own gradient g, scaled to length 1, the loss changes by |g| a unit. The
/// difference quotient over 2h errs by the loss's rounding, about 2^-20 in 50 over 2h, and by
/// h^2/6 of its third derivative: with h = 2^-7, under 1e-2 of the norms seen here (above 0.05).
#[test]
fn each_parameter_s_gradient_is_the_slope_of_the_loss() {
    const H: f32 = 1.0 / 128.0;
    let shapes = [
        config(NormKind::Rms, Activation::Swiglu, false),
        config(NormKind::Layer, Activation::Gelu, true),
    ];
    for config in shapes {
        let mut fixture = fixture(&config);
        for (index, gradient) in fixture.gradients().into_iter().enumerate() {
            let name = fixture.gpt.parameters()[index].spec().name.clone();
            let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            assert!(norm > 0.05, "{name}: a norm of {norm} tests little");
            let direction: Vec<f32> =
                gradient.iter().map(|&g| (f64::from(g) / norm) as f32).collect();
            let difference =
                fixture.moved(index, &direction, H) - fixture.moved(index, &direction, -H);
            let slope = difference / f64::from(2.0 * H);
            assert!((slope / norm - 1.0).abs() < 1e-2, "{name}: slope {slope}, gradient {norm}");
        }
    }
}
