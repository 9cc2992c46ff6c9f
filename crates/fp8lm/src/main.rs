//! The program `fp8lm`: picks the device, and runs what the libraries offer.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

mod backend;
mod cli;
mod devices;
mod emulate;
mod exit;
mod generate;
mod job;
mod list;
mod plan;
mod progress;
mod ranks;
mod rendezvous;
mod schedule;
mod selftest;
#[cfg(unix)]
mod spawn;
mod stop;
mod train;

use cli::{Cli, Command};
use exit::Exit;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Schedule(args) => schedule::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Emulate(args) => emulate::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Rendezvous(args) => rendezvous::run(&args),
        #[cfg(unix)]
        Command::Spawn(args) => spawn::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Recipes(args) => list::recipes(&args),
        Command::Presets(args) => list::presets(&args),
    };
    outcome.unwrap_or_else(fail)
}

/// One sentence on the error stream, if it is one.
fn fail(error: anyhow::Error) -> ExitCode {
    let exit = Exit::of(&error);
    if exit != Exit::Done {
        // Nothing is left to report to if the error stream is closed.
        let _ = writeln!(io::stderr(), "fp8lm: error: {error}");
    }
    exit.into()
}
