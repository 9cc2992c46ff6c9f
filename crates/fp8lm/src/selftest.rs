//! `fp8lm selftest`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use fp8lm_device::Queue;
use fp8lm_sim::Options;

use crate::{backend::Backend, cli::SelftestArgs};

mod kernels;
mod speed;
mod training;

/// Tests a device, part by part; the exit code is 1 if one of them fails.
pub(crate) fn run(args: &SelftestArgs) -> Result<ExitCode> {
    let device = args.device.open(Options::default())?;
    let reference = Backend::Cpu.open(Options::default())?;
    writeln!(io::stdout(), "{} against {}", device.properties().name, reference.properties().name)?;
    let (expected, tested) = (Queue::new(reference.clone())?, Queue::new(device.clone())?);
    let kernels = kernels::equal(&expected, &tested, &args.kernels)?;
    let megabytes = args.megabytes.unwrap_or(if args.device.is_gpu() { 256 } else { 0 });
    if megabytes > 0 {
        speed::report(&tested, megabytes << 20)?;
    }
    let training = args.steps == 0 || training::equal(reference, device, args.steps, &args.sets)?;
    Ok(if kernels && training { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
