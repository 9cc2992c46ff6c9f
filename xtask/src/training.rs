//! Trainings of the quickstart by the program: each is made once, and then read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo::cargo;

/// A recipe as `fp8lm train` is told it.
pub(crate) struct Contestant<'a> {
    pub(crate) name: &'a str,
    pub(crate) sets: &'a [&'a str],
}

/// Builds the program.
pub(crate) fn build() -> Result<()> {
    let build = cargo(["build", "--release", "--package", "fp8lm"]).status()?;
    ensure!(build.success(), "the program does not build");
    Ok(())
}

impl Contestant<'_> {
    /// The folder of its run among those of a chore, which is made unless it is there already.
    pub(crate) fn run(&self, chore: &str, seed: u64) -> Result<PathBuf> {
        let name = self.name.replace([' ', ','], "-");
        let folder = PathBuf::from(format!("runs/{chore}/{name}-{seed}"));
        // The report is written last.
        if !folder.join("report.html").exists() {
            self.train(seed, &folder)?;
        }
        Ok(folder)
    }

    fn train(&self, seed: u64, folder: &Path) -> Result<()> {
        eprintln!("{}, seed {seed}: training to {}", self.name, folder.display());
        let mut command = cargo(["run", "--quiet", "--release", "--package", "fp8lm", "--"]);
        command.args(["train", "--quiet"]);
        if folder.exists() {
            command.arg("--resume").arg(folder);
        } else {
            command.args(["--set", &format!("run.seed={seed}"), "--run"]).arg(folder);
            command.args(self.sets.iter().flat_map(|set| ["--set", set]));
        }
        ensure!(command.status()?.success(), "{} did not train", self.name);
        Ok(())
    }
}

/// The last validation loss of a run.
pub(crate) fn last_loss(run: &Path) -> Result<f64> {
    let metrics = run.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).with_context(|| metrics.display().to_string())?;
    let line = text.lines().next_back().context("the run has no records")?;
    let record: Value = serde_json::from_str(line)?;
    // What JSON has no number for stands there as a string.
    let loss = &record["validation_loss"];
    let named = || loss.as_str().and_then(|name| name.parse().ok());
    loss.as_f64().or_else(named).context("the last record has no validation loss")
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
