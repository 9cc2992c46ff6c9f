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

/// What a run says of one step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) step: u64,
    /// Of the step's batch.
    pub(crate) loss: f64,
    /// Where it was measured.
    pub(crate) validation_loss: Option<f64>,
    /// Steps so far whose gradients were not finite.
    pub(crate) skipped: u64,
}

/// The records of a run, of which there is at least one.
pub(crate) fn records(run: &Path) -> Result<Vec<Record>> {
    let path = run.join("metrics.jsonl");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let records = parse(&text).with_context(|| path.display().to_string())?;
    ensure!(!records.is_empty(), "{}: the run has no records", path.display());
    Ok(records)
}

/// The last validation loss of a run.
pub(crate) fn last_loss(records: &[Record]) -> Result<f64> {
    let last = records.last().and_then(|record| record.validation_loss);
    last.context("the last record has no validation loss")
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn parse(metrics: &str) -> Result<Vec<Record>> {
    metrics.lines().map(|line| record(&serde_json::from_str(line)?)).collect()
}

fn record(json: &Value) -> Result<Record> {
    Ok(Record {
        step: json["step"].as_u64().context("a record has no step")?,
        loss: real(&json["loss"]).context("a record has no loss")?,
        validation_loss: real(&json["validation_loss"]),
        skipped: json["skipped"].as_u64().context("a record has no skipped steps")?,
    })
}

/// What JSON has no number for stands there as a string.
fn real(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_losses_that_are_no_numbers() {
        let records = parse(concat!(
            r#"{"step":1,"loss":5.5,"skipped":0,"timing":{"seconds":0.5}}"#,
            "\n",
            r#"{"step":2,"loss":"NaN","validation_loss":"inf","skipped":1}"#,
            "\n",
        ));
        let [first, second] = &records.unwrap()[..] else { panic!("two lines are two records") };
        let expected = Record { step: 1, loss: 5.5, validation_loss: None, skipped: 0 };
        assert_eq!(*first, expected);
        assert!(second.loss.is_nan());
        assert_eq!(second.validation_loss, Some(f64::INFINITY));
        assert_eq!((second.step, second.skipped), (2, 1));
        assert!(last_loss(std::slice::from_ref(first)).is_err());
    }

    #[test]
    fn a_line_that_is_no_record_is_an_error() {
        for line in ["", "{", "{}", r#"{"step":1,"skipped":0}"#] {
            assert!(parse(&format!("{line}\n")).is_err(), "`{line}`");
        }
    }
}
