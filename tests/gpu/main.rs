//! The CUDA device on a machine without a GPU: on libraries that stand in for NVIDIA's.
//!
//! They are compiled from the C++ beside this file, and found by the system's loader as NVIDIA's would be, so that
//! everything in the device runs but NVIDIA's own code. The stand-ins take what the manuals say, and do work as late as
//! they may; what they do not know is how hardware rounds.

use std::{
    env, error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

mod checks;
mod memory;
mod nccl;
mod products;
mod stand_ins;

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

fn main() -> Result<ExitCode> {
    if let Some(folder) = env::var_os(FOLDER) {
        let folder = Path::new(&folder);
        match env::var(CHECKS).as_deref() {
            Ok("nccl") => nccl::run(folder)?,
            _ => checks::run(folder)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let folder = target()?.join("tmp/stand-ins");
    if !stand_ins::build(Path::new(SOURCES), &folder, &target()?)? {
        say("skipped: there is no C++ compiler");
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = env::args().nth(1).unwrap_or_default();
    let mut all_pass = true;
    for (checks, gpus, algorithm) in RUNS {
        if format!("{checks} {algorithm}").contains(&chosen) {
            all_pass &= run(&folder, checks, gpus, algorithm)?;
        }
    }
    Ok(if all_pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks in a process of their own, which finds the stand-ins. Whether they pass, and nothing of a GPU is left.
fn run(folder: &Path, checks: &str, gpus: usize, algorithm: &str) -> Result<bool> {
    let meetings = tempfile::tempdir()?;
    let output = Command::new(env::current_exe()?)
        .env(FOLDER, folder)
        .env(CHECKS, checks)
        .env("LD_LIBRARY_PATH", folder.join("driver"))
        .env("STANDIN_GPUS", gpus.to_string())
        .env("STANDIN_NCCL", meetings.path())
        .env("NCCL_ALGO", algorithm)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().filter(|line| *line != RELEASED).collect::<Vec<_>>().join("\n");
    say(&format!("{told}{}", String::from_utf8_lossy(&output.stderr)));
    let is_whole = text.contains(RELEASED) || text.starts_with("skipped");
    Ok(output.status.success() && is_whole)
}

fn target() -> Result<PathBuf> {
    let test = env::current_exe()?;
    Ok(test.ancestors().nth(3).ok_or("a test lies in cargo's folder")?.to_owned())
}

#[expect(clippy::print_stdout, reason = "a test tells what it did")]
fn say(text: &str) {
    println!("{text}");
}

/// Where the stand-ins' sources are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gpu");
/// Names the folder of the stand-ins to the process that uses them.
const FOLDER: &str = "FP8LM_STAND_INS";
/// Names the checks to it.
const CHECKS: &str = "FP8LM_CHECKS";
/// Checks, on how many GPUs, and how NCCL reduces.
const RUNS: [(&str, usize, &str); 3] =
    [("device", 1, "Ring"), ("nccl", 5, "Ring"), ("nccl", 5, "Tree")];
/// What the stand-in for the driver says when it is given back its context, and has found no memory in use.
const RELEASED: &str = "the context was released, and all memory before it";
