//! Prints the version of the NCCL that is found and a unique id, or where it was looked for.
//!
//! `cargo run -p nccl-rs --example version`
//!
//! The exit code is 1 where there is no NCCL, and 2 where there is one that fails.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows its results")]

use std::process::ExitCode;

use nccl_rs::{Error, Nccl, Result};

fn main() -> ExitCode {
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}.");
            ExitCode::from(if matches!(error, Error::Load { .. }) { 1 } else { 2 })
        }
    }
}

fn show() -> Result<()> {
    let nccl = Nccl::load()?;
    println!("NCCL {} from {}", nccl.version(), nccl.library().display());
    println!("unique id {}", nccl.unique_id()?);
    Ok(())
}
