//! `fp8lm selftest`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use fp8lm_device::Queue;
use fp8lm_sim::Options;

use crate::{
    backend::Backend,
    cli::{DeviceArgs, SelftestArgs},
};

mod kernels;
mod speed;
mod training;

/// Tests a device, part by part; the exit code is 1 if one of them fails.
pub(crate) fn run(args: &SelftestArgs) -> Result<ExitCode> {
    let DeviceArgs { device: backend, libraries } = &args.device;
    let device = backend.open(Options::default(), &libraries.folders)?;
    let reference = Backend::Cpu.open(Options::default(), &[])?;
    writeln!(io::stdout(), "{} against {}", device.properties().name, reference.properties().name)?;
    let (expected, tested) = (Queue::new(reference.clone())?, Queue::new(device.clone())?);
    let kernels = kernels::equal(&expected, &tested, &args.kernels)?;
    let megabytes = args.megabytes.unwrap_or(if backend.is_gpu() { 256 } else { 0 });
    if megabytes > 0 {
        speed::report(&tested, megabytes << 20)?;
    }
    let mut equal = kernels;
    for model in models(args) {
        let sets = [vec![format!("recipe.accumulate={model}")], args.sets.clone()].concat();
        equal &= training::equal(&reference, &device, args.steps, &sets)?;
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The models of accumulation that training is compared in: that of our own kernels, and on a GPU that of its library.
fn models(args: &SelftestArgs) -> &'static [&'static str] {
    match args.device.device {
        _ if args.steps == 0 => &[],
        Backend::Cuda(_) => &["f32", "cublaslt"],
        Backend::Cpu | Backend::Host => &["f32"],
    }
}
