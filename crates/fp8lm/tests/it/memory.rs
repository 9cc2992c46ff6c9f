//! Bytes a parameter, from labelled allocations.

use std::sync::Arc;

use fp8lm_device::Device;
use fp8lm_scaling::LINEAR;
use fp8lm_sim::Emulator;
use fp8lm_trainer::{Config, Plan, Trainer};

fn trainer(device: Arc<dyn Device>, sets: &[&str]) -> Trainer {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let plan = Plan::new(Config::load("tiny", None, &sets).unwrap()).unwrap();
    Trainer::new(device, plan).unwrap()
}

#[test]
fn bytes_a_parameter_are_exact() {
    let cases: [(&[&str], usize); 9] = [
        (&["recipe.name=fp32"], 16),
        (&["recipe.name=bf16"], 18),
        (&["recipe.name=te"], 18),
        (&["recipe.name=fp8lm-1"], 11),
        (&["recipe.name=fp8lm-2"], 6),
        (&["recipe.name=fp8lm-3"], 7),
        (&["recipe.name=deepseek-v3"], 13),
        (&["recipe.name=fp8lm-2", "recipe.master=f32"], 8),
        (&["recipe.first_moment=e4m3:expand", "recipe.second_moment=e4m3:expand"], 6),
    ];
    for (sets, expected) in cases {
        let mut trainer = trainer(Arc::new(Emulator::default()), sets);
        trainer.step().unwrap();
        let usage = trainer.device().usage();
        let bytes = |label| usage.get(&label).map_or(0, |usage| usage.bytes);
        let total: usize = LINEAR.all().into_iter().map(bytes).sum();
        let parameters = trainer.plan().config().model.linear_parameters();
        assert_eq!(total, expected * parameters, "{sets:?}, {parameters} parameters");
    }
}

#[test]
fn nothing_is_allocated_after_the_second_step() {
    for recipe in ["bf16", "te", "fp8lm-1", "fp8lm-3", "deepseek-v3"] {
        let emulator = Arc::new(Emulator::default());
        let sets = [&*format!("recipe.name={recipe}"), "data.micro_batches=2"];
        let mut trainer = trainer(emulator.clone(), &sets);
        trainer.step().unwrap();
        trainer.step().unwrap();
        let (system, peak) = (emulator.system_bytes(), trainer.device().total().peak);
        for _ in 0..3 {
            trainer.step().unwrap();
        }
        assert_eq!(emulator.system_bytes(), system, "{recipe}: memory from the system");
        assert_eq!(trainer.device().total().peak, peak, "{recipe}: peak of the books");
    }
}
