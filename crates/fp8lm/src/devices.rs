//! `fp8lm devices`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use fp8lm_sim::Options;
use fp8lm_trainer::text::{align, bytes};

use crate::backend::Backend;

/// Prints a line for every device, or why it cannot be had.
pub(crate) fn run() -> Result<ExitCode> {
    let mut rows = vec![["device", "what", "memory"].map(String::from)];
    rows.extend([Backend::Cpu, Backend::Host].iter().map(row));
    write!(io::stdout(), "{}", align(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn row(backend: &Backend) -> [String; 3] {
    match backend.open(Options::default()) {
        Ok(device) => {
            let properties = device.properties();
            [backend.to_string(), properties.name.clone(), bytes(properties.memory_bytes)]
        }
        Err(error) => [backend.to_string(), format!("absent: {error}"), String::new()],
    }
}
