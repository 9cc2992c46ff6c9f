//! What has the same bits when streams run as late, and in as odd an order, as events allow: it waits for all it needs,
//! and reads no memory that nobody wrote.

use std::{collections::BTreeSet, sync::Arc};

use fp8lm_conformance::{Case, cases, differences, run};
use fp8lm_device::{DType, Device, Queue};
use fp8lm_sim::{Adversarial, Emulator};
use fp8lm_trainer::{Config, Plan, Result, StepSummary, Trainer};

#[test]
fn every_kernel_writes_all_that_it_should() {
    let emulator = Emulator::default();
    let reference = Queue::new(Arc::new(emulator.sibling())).unwrap();
    let device = Queue::new(Arc::new(Adversarial::new(&emulator, 1))).unwrap();
    let all: BTreeSet<_> = cases().iter().map(Case::kernel).collect();
    let report = run(&reference, &device, cases().into_iter().step_by(5));
    assert!(report.failures().is_empty(), "{report}");
    assert!(report.kernels().keys().eq(&all), "each kernel has a case");
}

#[test]
fn training_steps_are_equal_in_every_bit() {
    let emulator = Emulator::default();
    for recipe in ["fp8lm-3", "deepseek-v3"] {
        let sets = [format!("recipe.name={recipe}"), "data.micro_batches=2".to_owned()];
        let plan = Plan::new(Config::load("tiny", None, &sets).unwrap()).unwrap();
        let train = |device: Arc<dyn Device>| Trained::new(device, plan.clone()).unwrap();
        let expected = train(Arc::new(emulator.sibling()));
        for seed in 0..3 {
            let got = train(Arc::new(Adversarial::new(&emulator, seed)));
            assert_eq!(got.steps, expected.steps, "{recipe}, seed {seed}");
            assert_eq!(got.first_difference(&expected), None, "{recipe}, seed {seed}");
        }
    }
}

/// What two steps said, and what a checkpoint would hold after them.
struct Trained {
    steps: [StepSummary; 2],
    state: Vec<(String, DType, Vec<u8>)>,
}

impl Trained {
    fn new(device: Arc<dyn Device>, plan: Plan) -> Result<Self> {
        let mut trainer = Trainer::new(device, plan)?;
        let steps = [trainer.step()?, trainer.step()?];
        let state = trainer.state().into_iter().map(|(name, tensor)| {
            let bytes = trainer.queue().download_bytes(&tensor)?;
            Ok((name, tensor.dtype(), bytes))
        });
        let state = state.collect::<Result<_>>()?;
        Ok(Self { steps, state })
    }

    fn first_difference(&self, expected: &Self) -> Option<String> {
        assert_eq!(self.state.len(), expected.state.len());
        let both = expected.state.iter().zip(&self.state);
        let mut found = both.filter_map(|((name, dtype, want), (_, _, got))| {
            differences(*dtype, want, got).map(|difference| format!("`{name}`: {difference}"))
        });
        found.next()
    }
}
