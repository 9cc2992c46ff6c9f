//! The CUDA kernels on the CPU under AddressSanitizer and ThreadSanitizer.
//!
//! A sanitizer's runtime must be in a process from its start, so the cases run in a program of their own, an example
//! of the tests.

use std::{fmt, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    cargo::{self, cargo, is_available, output, succeeds},
    features,
};

/// What finds wrong accesses.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sanitizer {
    /// Accesses beyond an argument or shared memory
    Address,
    /// Accesses that no barrier orders
    Thread,
}

/// Why a sanitizer cannot be run on this machine.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) &'static str);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no sanitizer: {}", self.0)
    }
}

impl std::error::Error for Missing {}

/// Runs the cases under a sanitizer, or under each. Whether nothing was found.
pub(crate) fn run(sanitizer: Option<Sanitizer>) -> Result<bool> {
    let all = [Sanitizer::Address, Sanitizer::Thread];
    let mut is_clean = true;
    for sanitizer in all.into_iter().filter(|one| sanitizer.is_none_or(|chosen| chosen == *one)) {
        is_clean &= check(sanitizer)?;
    }
    Ok(is_clean)
}

/// Runs the cases under one of them. Whether nothing was found.
pub(crate) fn check(sanitizer: Sanitizer) -> Result<bool> {
    let runtime = sanitizer.runtime()?;
    // With the features of the tests, and so without building libraries again.
    let build = ["build", "--workspace", "--example", "sanitize"];
    ensure!(succeeds(cargo(build).args(features::all()?))?, "the program does not build");
    let mut program = Command::new(cargo::target()?.join("debug/examples/sanitize"));
    program.arg(sanitizer.name()).env("LD_PRELOAD", runtime);
    // What Rust keeps to the end is no leak.
    program.env("ASAN_OPTIONS", "detect_leaks=0").env("TSAN_OPTIONS", "exitcode=66");
    println!("{} sanitizer", sanitizer.name());
    succeeds(&mut program)
}

impl Sanitizer {
    /// As the program calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
        }
    }

    /// The library that the compiler brings along.
    fn runtime(self) -> Result<PathBuf> {
        if !is_available(Command::new(COMPILER).arg("--version")) {
            return Err(Missing("there is no C++ compiler").into());
        }
        let library = match self {
            Self::Address => "libasan.so",
            Self::Thread => "libtsan.so",
        };
        let path = output(Command::new(COMPILER).arg(format!("-print-file-name={library}")))?;
        let path = PathBuf::from(path.trim());
        // A library that it does not have is the mere name.
        if !path.is_absolute() || !path.exists() {
            return Err(Missing("the C++ compiler has no such runtime").into());
        }
        if !is_available(Command::new("true").env("LD_PRELOAD", &path)) {
            return Err(Missing("its runtime does not run on this system").into());
        }
        Ok(path)
    }
}

const COMPILER: &str = "c++";
