//! Steps over several parameters: clipping, skipping, and every recipe's states.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, DType, Label, Queue};
use fp8lm_optim::{AdamW, Options};
use fp8lm_scaling::{LINEAR, NAMES, Noise, Parameter, ParameterSpec, Precision, Shard, recipe};
use fp8lm_sim::Emulator;

const N: usize = 64;

struct Fixture {
    queue: Queue,
    parameters: Vec<Parameter>,
    adamw: AdamW,
}

fn fixture(precision: &Precision, options: Options) -> Fixture {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let spec = |name: &str| ParameterSpec {
        name: name.into(),
        shape: [8, 8].into(),
        shard: Shard::WHOLE,
        precision: precision.clone(),
        labels: &LINEAR,
        decays: false,
        noise: Noise::default(),
    };
    let values: Vec<f32> = (0..N).map(|i| i as f32 / 32.0 - 1.0).collect();
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    let parameters: Vec<_> =
        ["a", "b"].map(|name| Parameter::new(&queue, spec(name), &alone, &values).unwrap()).into();
    let adamw = AdamW::new(&queue, options, &parameters.iter().collect::<Vec<_>>()).unwrap();
    Fixture { queue, parameters, adamw }
}

impl Fixture {
    /// A step with a constant gradient for each parameter; its norm, and whether it was skipped.
    fn step(&mut self, gradients: [f32; 2]) -> (f32, bool) {
        for (parameter, value) in self.parameters.iter_mut().zip(gradients) {
            let gradient = self.queue.upload(&[value; N], [8, 8], Label("dw")).unwrap();
            parameter.gradient_mut().begin(&self.queue).unwrap();
            parameter.gradient_mut().add(&self.queue, gradient).unwrap();
        }
        let mut parameters: Vec<_> = self.parameters.iter_mut().collect();
        let outcome = self.adamw.step(&self.queue, &mut parameters, 1e-2).unwrap();
        let reading = outcome.read(&self.queue).unwrap();
        (reading.norm, reading.skipped)
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let moments = self.adamw.moments().iter().flatten();
        let moments = moments.flat_map(|m| [&m.first.values, &m.second.values]);
        let masters = self.parameters.iter().map(|parameter| &parameter.master().values);
        let all = masters.chain(moments).chain([self.adamw.powers()]);
        all.map(|tensor| self.queue.download_bytes(tensor).unwrap()).collect()
    }
}

fn precisions() -> impl Iterator<Item = (&'static str, Precision)> {
    NAMES.iter().map(|name| (*name, recipe(name).unwrap().linears))
}

#[test]
fn the_norm_is_over_all_parameters() {
    for (name, precision) in precisions() {
        let mut fixture = fixture(&precision, Options::default());
        // sqrt(64 * 3^2 + 64 * 4^2); both gradients are exact in every format.
        assert_eq!(fixture.step([3.0, 4.0]), (40.0, false), "{name}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for (name, precision) in precisions() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut fixture = fixture(&precision, Options::default());
            fixture.step([0.5, -0.5]);
            let before = fixture.bytes();
            assert!(fixture.step([1.0, bad]).1, "{name}, {bad}: the step was not skipped");
            assert_eq!(fixture.bytes(), before, "{name}, {bad}: something changed");
            assert!(!fixture.step([0.5, -0.5]).1, "{name}, {bad}: the next step was skipped");
            assert_ne!(fixture.bytes(), before, "{name}, {bad}: the next step did nothing");
        }
    }
}

#[test]
fn clipping_bounds_fp8_gradients_as_well() {
    for (name, precision) in precisions() {
        let moment = |max_norm: f64| {
            let mut fixture = fixture(&precision, Options { max_norm, ..Options::default() });
            fixture.step([4.0, 4.0]);
            let first = &fixture.adamw.moments()[0].as_ref().unwrap().first;
            let values = first.load(&fixture.queue, DType::F32).unwrap();
            fixture.queue.download::<f32>(&values).unwrap()[0]
        };
        // The norm is sqrt(128) * 4; halving the bound halves what enters the first moment,
        // exactly, for factors and formats are binary.
        assert_eq!(moment(8.0), 0.5 * moment(16.0), "{name}");
        assert!(moment(16.0) < moment(1e3), "{name}");
    }
}
