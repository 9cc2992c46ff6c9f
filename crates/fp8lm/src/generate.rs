//! `fp8lm generate`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use fp8lm_sim::Options;
use fp8lm_trainer::{Generation, Generator};

use crate::cli::{DeviceArgs, GenerateArgs};

/// Continues a prompt on standard output, token by token.
pub(crate) fn run(args: &GenerateArgs) -> Result<ExitCode> {
    let DeviceArgs { device, libraries } = &args.device;
    let device = device.open(Options::default(), &libraries.folders)?;
    let mut generator = Generator::of_run(&args.run, device)?;
    let GenerateArgs { tokens, temperature, seed, .. } = *args;
    let mut out = io::stdout().lock();
    write!(out, "{}", args.prompt)?;
    let mut broken = Ok(());
    generator.generate(&args.prompt, Generation { tokens, temperature, seed }, &mut |bytes| {
        broken = out.write_all(bytes).and_then(|()| out.flush());
        broken.is_ok()
    })?;
    broken?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}
