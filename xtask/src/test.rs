//! Every test that CI runs, and a table of them at the end.
//!
//! All features that this machine can build are on throughout, so that the workspace is built once; fewer of them are
//! only type-checked.

mod examples;
mod report;
#[cfg(unix)]
mod slurm;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::Value;

use self::report::{Outcome, Report};
use crate::{
    cargo::{self, cargo, is_available, miri, succeeds},
    features, kernels,
    sanitize::{self, Sanitizer},
    wheels,
};

/// Runs the checks whose name contains `filter`. Whether none failed.
pub(crate) fn run(filter: &str) -> Result<bool> {
    let packages = cargo::packages()?;
    let mut report = Report::of(filter);
    // First, for it fetches the runtime compiler that the tests look for.
    report.check("kernels compile for sm_90a", kernels_for_the_gpu);
    let mut nccl = None;
    report.check("NCCL without a GPU", || nccl_library(&mut nccl));
    let nccl = nccl.as_deref();
    report.check("unit and integration tests", || test("--tests", nccl));
    report.check("documentation tests", || test("--doc", nccl));
    if let Some(missing) = features::missing_for_mpi() {
        report.check("ranks as processes of MPI", || Ok(Outcome::Skipped(missing)));
    }
    report.check("shell scripts", shell_scripts);
    #[cfg(unix)]
    report.check("a job on a Slurm of one node", slurm::check);
    examples::check(&packages, nccl, &mut report);
    report.check("kernels under AddressSanitizer", || sanitized(Sanitizer::Address));
    report.check("kernels under ThreadSanitizer", || sanitized(Sanitizer::Thread));
    for package in &packages {
        check_features(package, &mut report);
    }
    report.check("formats under Miri", formats_under_miri);
    println!("\n{report}");
    Ok(report.is_passed())
}

fn kernels_for_the_gpu() -> Result<Outcome> {
    unless_missing(kernels::run(&kernels::Options::default()))
}

/// The library that tests load, or why there is none.
fn nccl_library(library: &mut Option<PathBuf>) -> Result<Outcome> {
    unless_missing(wheels::nccl().map(|path| library.insert(path).exists()))
}

fn sanitized(sanitizer: Sanitizer) -> Result<Outcome> {
    unless_missing(sanitize::check(sanitizer))
}

/// What the machine does not have is a skip; everything else that goes wrong is not.
fn unless_missing(result: Result<bool>) -> Result<Outcome> {
    result
        .map(Outcome::from)
        .or_else(|error| error.downcast().map(|wheels::Missing(reason)| Outcome::Skipped(reason)))
        .or_else(|error| error.downcast().map(|sanitize::Missing(reason)| Outcome::Skipped(reason)))
}

fn test(targets: &str, nccl: Option<&Path>) -> Result<Outcome> {
    let mut test = cargo(["test", "--workspace", "--no-fail-fast", targets]);
    test.envs(nccl.map(|library| (NCCL, library)));
    Ok(succeeds(test.args(features::all()?))?.into())
}

/// Holds our own scripts, and those that `launch` prints, to shellcheck. It only informs of `$` in single quotes.
fn shell_scripts() -> Result<Outcome> {
    if !is_available(Command::new("shellcheck").arg("--version")) {
        return Ok(Outcome::Skipped("there is no shellcheck"));
    }
    let mut check = Command::new("shellcheck");
    check.arg("--severity=warning").args(SCRIPTS).current_dir(cargo::root());
    for entry in fs::read_dir(cargo::root().join("xtask/src/launch/snapshots"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh" || extension == "sbatch") {
            check.arg(path);
        }
    }
    Ok(succeeds(&mut check)?.into())
}

/// Checks a package that has features with none of them, and with each of them alone.
fn check_features(package: &Value, report: &mut Report) {
    let name = package["name"].as_str().unwrap_or_default();
    let features = package["features"].as_object().into_iter().flat_map(|map| map.keys());
    let can_build =
        |feature: &str| feature != features::MPI || features::missing_for_mpi().is_none();
    let features = features.filter(|feature| *feature != "default" && can_build(feature));
    let features: Vec<_> = features.collect();
    if features.is_empty() {
        return;
    }
    report.check(&format!("features of {name}"), || {
        let check = ["check", "--package", name, "--no-default-features", "--features"];
        for feature in std::iter::once("").chain(features.iter().map(|feature| feature.as_str())) {
            if !succeeds(cargo(check).arg(feature))? {
                return Ok(Outcome::Failed);
            }
        }
        Ok(Outcome::Passed)
    });
}

fn formats_under_miri() -> Result<Outcome> {
    if !is_available(&mut miri(["setup"])) {
        return Ok(Outcome::Skipped("no nightly toolchain with Miri"));
    }
    let test = ["test", "--package", "fp8lm-formats", "--all-features"];
    Ok(succeeds(&mut miri(test))?.into())
}

/// Of this repository.
const SCRIPTS: &[&str] = &[".ci/run", "tests/slurm/single-node"];
/// The variable that names NCCL's library to tests.
const NCCL: &str = "FP8LM_NCCL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_a_skip() {
        let missing = anyhow::Error::new(wheels::Missing("no network")).context("kernels");
        let outcome = |result| unless_missing(result).ok();
        assert_eq!(outcome(Err(missing)), Some(Outcome::Skipped("no network")));
        let missing = anyhow::Error::new(sanitize::Missing("no runtime"));
        assert_eq!(outcome(Err(missing)), Some(Outcome::Skipped("no runtime")));
        assert_eq!(outcome(Err(anyhow::anyhow!("g++ is missing"))), None);
        assert_eq!(outcome(Ok(false)), Some(Outcome::Failed));
        assert_eq!(outcome(Ok(true)), Some(Outcome::Passed));
    }
}
