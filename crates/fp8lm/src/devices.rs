//! `fp8lm devices`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use fp8lm_sim::Options;
use fp8lm_trainer::text::bytes;

use crate::{
    backend::{Backend, find_cuda},
    cli::LibraryArgs,
};

/// Prints a line for every device, or why it cannot be had.
pub(crate) fn run(args: &LibraryArgs) -> Result<ExitCode> {
    let mut rows = vec![["device", "memory", "what"].map(String::from)];
    let gpus = find_cuda(&args.folders).and_then(|cuda| cuda.devices());
    let gpus = (0..gpus.unwrap_or(1).max(1)).map(|ordinal| Backend::Cuda(Some(ordinal)));
    let devices = [Backend::Cpu, Backend::Host].into_iter().chain(gpus);
    rows.extend(devices.map(|device| row(&device, &args.folders)));
    let mut out = io::stdout().lock();
    for [device, memory, what] in rows {
        writeln!(out, "{device:<8}  {memory:>25}  {what}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(backend: &Backend, folders: &[PathBuf]) -> [String; 3] {
    let (memory, what) = match backend.open(Options::default(), folders) {
        Ok(device) => {
            let properties = device.properties();
            (bytes(properties.memory_bytes), properties.name.clone())
        }
        Err(error) => ("absent".into(), error.to_string()),
    };
    [backend.to_string(), memory, what]
}
