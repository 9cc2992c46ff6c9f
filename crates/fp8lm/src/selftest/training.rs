//! A short training run on two devices.

use std::{
    io::{self, Write},
    sync::Arc,
};

use anyhow::Result;
use fp8lm_conformance::differences;
use fp8lm_device::Device;
use fp8lm_trainer::{Config, Plan, Trainer};

/// Whether a run of `steps` steps of the preset `tiny` has the same bits on both devices: losses, then every tensor of
/// a checkpoint. Prints the first difference, with its step.
pub(super) fn equal(
    reference: &Arc<dyn Device>,
    device: &Arc<dyn Device>,
    steps: u64,
    sets: &[String],
) -> Result<bool> {
    let plan = Plan::new(Config::load("tiny", None, sets)?)?;
    let model = sets.join(", ");
    let name = format!("{} ({model})", plan.recipe().name);
    let new = |device: &Arc<dyn Device>| Trainer::new(device.clone(), plan.clone());
    let mut trainers = [new(reference)?, new(device)?];
    for step in 1..=steps {
        if let Some(difference) = step_difference(&mut trainers)? {
            writeln!(io::stdout(), "training of {name} differs in step {step}: {difference}")?;
            return Ok(false);
        }
    }
    writeln!(io::stdout(), "{steps} training steps of {name} equal in every bit")?;
    Ok(true)
}

/// What differs after one more step.
fn step_difference([reference, device]: &mut [Trainer; 2]) -> Result<Option<String>> {
    let (want, got) = (reference.step()?, device.step()?);
    if want != got {
        return Ok(Some(format!("expected {want:?}, got {got:?}")));
    }
    for ((name, want), (_, got)) in reference.state().into_iter().zip(device.state()) {
        let dtype = want.dtype();
        let (want, got) =
            (reference.queue().download_bytes(&want)?, device.queue().download_bytes(&got)?);
        if let Some(difference) = differences(dtype, &want, &got) {
            return Ok(Some(format!("tensor `{name}` in {difference}")));
        }
    }
    Ok(None)
}
