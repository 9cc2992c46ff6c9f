//! The chores of this workspace, as `cargo xtask <CHORE>`.
//!
//! Exit codes: 0 if all is well, 1 if a check failed or two runs differ, 2 if the chore could not be done. `train`,
//! `bench` and `launch` become the program that they start, and end with its code; a job of Slurm is handed over.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]

mod ablation;
mod cargo;
mod checkpoint;
mod compare;
mod features;
mod gpu;
mod kernels;
mod launch;
mod quality;
mod sanitize;
mod test;
mod tidy;
mod training;
mod wheels;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The chores of this workspace")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the program, then train `quickstart` in FP8 with a BF16 run beside it
    Train {
        /// Further arguments of `fp8lm train`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run every test; what the machine lacks is a counted skip
    Test {
        /// Only the checks whose name contains this
        #[arg(default_value = "")]
        filter: String,
    },
    /// Build the program with the kernels inside, for a machine with a GPU; on one, test it
    Gpu,
    /// Run the benchmarks
    Bench {
        /// Run only those whose name contains this
        filter: Option<OsString>,
    },
    /// Train the quickstart over several seeds, and compare validation losses with a baseline's
    Quality {
        /// What is compared
        #[arg(value_enum, default_value_t = quality::Subject::Recipes)]
        subject: quality::Subject,
        /// How many seeds
        #[arg(long, default_value_t = 3)]
        seeds: u64,
    },
    /// Train the quickstart with the optimizer's states in several formats, and write docs/ablation.md
    Ablation {
        /// What is ablated
        #[arg(value_enum, default_value_t = ablation::Experiment::Grid)]
        experiment: ablation::Experiment,
        /// How many seeds
        #[arg(long, default_value_t = 3)]
        seeds: u64,
    },
    /// Compile the CUDA kernels for the GPU, without one, and check registers and instructions
    Kernels(kernels::Options),
    /// Run the CUDA kernels on the CPU under AddressSanitizer and ThreadSanitizer
    Sanitize {
        /// Under this one alone
        #[arg(value_enum)]
        sanitizer: Option<sanitize::Sanitizer>,
    },
    /// Check what neither rustfmt nor clippy sees
    Tidy,
    /// Find the first step and the first tensor element in which two runs differ, by bits
    Compare {
        /// The folder of one run
        run_a: PathBuf,
        /// The folder of the other run
        run_b: PathBuf,
    },
    /// Build the program, and start a run on this machine or on a cluster, or print what would start it
    Launch(launch::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn run(chore: Chore) -> Result<bool> {
    match chore {
        Chore::Train { args } => train(&args),
        Chore::Test { filter } => test::run(&filter),
        Chore::Gpu => gpu::run(),
        Chore::Bench { filter } => bench(filter),
        Chore::Quality { subject, seeds } => quality::run(subject, seeds),
        Chore::Ablation { experiment, seeds } => ablation::run(experiment, seeds),
        Chore::Kernels(options) => kernels::run(&options),
        Chore::Sanitize { sanitizer } => sanitize::run(sanitizer),
        Chore::Tidy => tidy::run(),
        Chore::Compare { run_a, run_b } => compare::run(&run_a, &run_b),
        Chore::Launch(options) => launch::run(&options),
    }
}

fn train(args: &[OsString]) -> Result<bool> {
    let program = ["run", "--release", "--package", "fp8lm", "--", "train"];
    // A run that goes on has its own configuration, and its comparison beside it.
    let resumes = args.iter().any(|arg| arg.to_string_lossy().starts_with("--resume"));
    let defaults: &[_] = if resumes { &[] } else { &["--compare", "bf16"] };
    cargo::become_it(cargo::cargo(program).args(defaults).args(args))
}

fn bench(filter: Option<OsString>) -> Result<bool> {
    cargo::become_it(cargo::cargo(["bench", "--package", "fp8lm-benches", "--"]).args(filter))
}
