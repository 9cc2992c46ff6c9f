//! The program for a machine with a GPU: built here, carried there, tested if this is one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cargo::{self, cargo, succeeds},
    kernels,
};

/// Compiles the kernels, builds the program with them inside, and tests the first GPU if there is one. Whether all went
/// well.
pub(crate) fn run() -> Result<bool> {
    if !kernels::run(&kernels::Options::default())? {
        return Ok(false);
    }
    let target = cargo::target()?;
    if !succeeds(&mut build(&target))? {
        return Ok(false);
    }
    let program = install(&target)?;
    println!("{}: {}", program.display(), size(&program)?);
    if !has_gpu(&program)? {
        println!("this machine has no GPU; on one that has: ./fp8lm selftest --device cuda:0");
        return Ok(true);
    }
    succeeds(Command::new(&program).args(["selftest", "--device", "cuda:0"]))
}

/// The release build, stripped, the kernels' machine code inside.
fn build(target: &Path) -> Command {
    let mut command = cargo(["build", "--release", "--package", "fp8lm", "--locked"]);
    command.args(["--config", "profile.release.strip=true"]);
    command.env("FP8LM_CUBINS", target.join("cuda/kernels"));
    command
}

/// Puts the program where nothing else is built.
fn install(target: &Path) -> Result<PathBuf> {
    let (from, folder) = (target.join("release/fp8lm"), target.join("gpu"));
    let program = folder.join("fp8lm");
    let copied = fs::create_dir_all(&folder).and_then(|()| fs::copy(&from, &program));
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), program.display()))?;
    Ok(program)
}

fn size(program: &Path) -> Result<String> {
    let bytes = fs::metadata(program)?.len();
    let megabytes = bytes as f64 / 1e6;
    ensure!(
        bytes < MAX_BYTES,
        "expected less than {} MB, got {megabytes:.1}",
        MAX_BYTES / 1_000_000
    );
    Ok(format!("{megabytes:.1} MB"))
}

/// Whether the program finds a GPU that it can use; its table says why not.
fn has_gpu(program: &Path) -> Result<bool> {
    let table = cargo::output(Command::new(program).arg("devices"))?;
    print!("{table}");
    Ok(table.lines().any(|line| line.starts_with("cuda:0") && !line.contains("absent")))
}

/// What is still quickly carried anywhere.
const MAX_BYTES: u64 = 40_000_000;
