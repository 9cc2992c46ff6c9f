//! The metrics of a run: one JSON object a line, flushed line by line.
//!
//! Figures survive the way through the file bit for bit. What JSON has no number for is written as
//! a string: `"NaN"`, `"inf"` or `"-inf"` (the sign and payload of a NaN are lost). Everything but
//! [`Record::timing`] is deterministic: two runs agree if their lines agree after that member is
//! taken out.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{At, Error, Result};

mod real;
mod straggler;
mod wire;

pub use straggler::{Phase, Spent, Straggler};
pub use wire::{Sent, Wire};

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done, this one included.
    pub step: u64,
    /// Tokens trained on up to and including this step.
    pub tokens: u64,
    /// Mean training loss of the step's batch, in nats a token.
    #[serde(with = "real")]
    pub loss: f64,
    /// Mean loss over the validation split after this step, in nats a token, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "real::optional")]
    pub validation_loss: Option<f64>,
    /// The learning rate of the step.
    #[serde(with = "real")]
    pub learning_rate: f64,
    /// Global L2 norm of the gradient before clipping.
    #[serde(with = "real")]
    pub grad_norm: f64,
    /// Steps skipped so far because a gradient was not finite.
    pub skipped: u64,
    /// Figures of the tensors held in low precision, by their kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub formats: BTreeMap<TensorKind, FormatStatistics>,
    /// The auto-scaling factor mu over all gradient tensors; its middle is the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mu: Option<Spread>,
    /// What ranks sent one another, if there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<Wire>,
    /// What depends on the machine and not on the run.
    pub timing: Timing,
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorKind {
    /// A weight, as an operand of a matrix multiply.
    Weight,
    /// An input activation of a linear layer.
    Input,
    /// The gradient with respect to a linear layer's output.
    OutputGradient,
    /// The gradient with respect to a weight.
    Gradient,
    /// Adam's first moment.
    FirstMoment,
    /// Adam's second moment.
    SecondMoment,
}

impl TensorKind {
    /// Every kind, in order.
    pub const ALL: [Self; 6] = [
        Self::Weight,
        Self::Input,
        Self::OutputGradient,
        Self::Gradient,
        Self::FirstMoment,
        Self::SecondMoment,
    ];

    /// What a reader calls it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Input => "input",
            Self::OutputGradient => "output gradient",
            Self::Gradient => "gradient",
            Self::FirstMoment => "first moment",
            Self::SecondMoment => "second moment",
        }
    }
}

/// Figures over all tensors of one kind; what was not counted is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FormatStatistics {
    /// Fraction of elements beyond the format's largest value before the cast.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "real::optional")]
    pub saturation_rate: Option<f64>,
    /// Fraction of elements that were not zero before the cast and are after it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "real::optional")]
    pub underflow_rate: Option<f64>,
    /// Base-2 logarithms of the tensors' scales; its middle is the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log2_scale: Option<Spread>,
}

/// The range of a figure over tensors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    #[serde(with = "real")]
    pub min: f64,
    /// The mean or the median: where the spread is used says which.
    #[serde(with = "real")]
    pub middle: f64,
    /// The largest.
    #[serde(with = "real")]
    pub max: f64,
}

/// Wall-clock figures: never the same twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds spent on the run up to and including this step, over all its sessions.
    #[serde(with = "real")]
    pub seconds: f64,
    /// Speed of this step.
    #[serde(with = "real")]
    pub tokens_per_second: f64,
    /// Whom ranks waited for in this step, if there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub straggler: Option<Straggler>,
}

/// Appends records to a metrics file.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    /// Starts a metrics file, which must not exist yet.
    pub fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        Ok(Self { path: path.to_owned(), file: file.at("create", path)? })
    }

    /// Goes on after `step`: later records are cut off, and so is whatever else follows, such as
    /// a torn line. What leads up to `step` was synced with its checkpoint and must be whole.
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path).at("open", path)?;
        let (mut last, mut kept) = (0, 0);
        let walked = walk(path, |record, end| {
            let accepted = record.step <= step;
            if accepted {
                (last, kept) = (record.step, end);
            }
            accepted
        });
        match walked {
            Err(Error::MetricsLine { .. }) if last == step => {}
            walked => walked?,
        }
        file.set_len(kept).at("truncate", path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Adds one line, which other processes can read at once.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let written =
            serde_json::to_vec(record).map_err(std::io::Error::from).and_then(|mut line| {
                line.push(b'\n');
                self.file.write_all(&line)
            });
        written.at("write", &self.path)
    }

    /// Another writer to the same file.
    pub fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone().at("open", &self.path)?;
        Ok(Self { path: self.path.clone(), file })
    }

    /// Waits until all lines are on disk. Due before a checkpoint, which must not outlive them.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().at("sync", &self.path)
    }
}

/// All records of a metrics file; a torn last line, as of a run that goes on, is left out.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    walk(path, |record, _| {
        records.push(record);
        true
    })?;
    Ok(records)
}

/// The mean training loss of the last ten records, if there are any: a single batch is noise.
pub fn training_loss(records: &[Record]) -> Option<f64> {
    let last = &records[records.len().saturating_sub(LAST)..];
    let sum: f64 = last.iter().map(|record| record.loss).sum();
    (!last.is_empty()).then(|| sum / last.len() as f64)
}

/// The last validation loss, if there is one.
pub fn validation_loss(records: &[Record]) -> Option<f64> {
    records.iter().rev().find_map(|record| record.validation_loss)
}

/// Reads whole lines, and where each ends, until `accept` refuses one.
fn walk(path: &Path, mut accept: impl FnMut(Record, u64) -> bool) -> Result<()> {
    let mut reader = BufReader::new(File::open(path).at("open", path)?);
    let (mut end, mut line) = (0, Vec::new());
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line).at("read", path)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        let record = serde_json::from_slice(&line).map_err(|source| Error::MetricsLine {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        end += line.len() as u64;
        if !accept(record, end) {
            break;
        }
    }
    Ok(())
}

/// Records in the mean of [`training_loss`].
const LAST: usize = 10;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn record(step: u64) -> Record {
        Record {
            step,
            tokens: 2048 * step,
            loss: f64::from(5.545_177_5_f32) / step as f64,
            validation_loss: step.is_multiple_of(2).then_some(0.1 + 0.2),
            learning_rate: 1e-3 / 3.0,
            grad_norm: f64::INFINITY,
            skipped: 1,
            formats: BTreeMap::from([(
                TensorKind::OutputGradient,
                FormatStatistics {
                    saturation_rate: Some(5e-324),
                    underflow_rate: Some(f64::MAX),
                    log2_scale: Some(Spread {
                        min: -0.0,
                        middle: f64::NEG_INFINITY,
                        max: 1.0 / 3.0,
                    }),
                },
            )]),
            mu: None,
            wire: Some(Wire::new(3, [("weights", "all_gather", u64::MAX)], 1 << 60)),
            timing: Timing { seconds: 1.5, tokens_per_second: 3000.25, straggler: None },
        }
    }

    /// A file of `count` records, and the offset at which each ends.
    fn file(path: &Path, count: u64) -> Vec<usize> {
        let _ = fs::remove_file(path);
        let mut writer = MetricsWriter::create(path).unwrap();
        let append = |step| {
            writer.append(&record(step)).unwrap();
            fs::metadata(path).unwrap().len() as usize
        };
        (1..=count).map(append).collect()
    }

    #[test]
    fn figures_survive_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        file(&path, 3);
        assert_eq!(read(&path).unwrap(), [record(1), record(2), record(3)]);

        let nan = Record { loss: f64::NAN, validation_loss: Some(f64::NAN), ..record(1) };
        let json = serde_json::to_string(&nan).unwrap();
        assert!(json.contains(r#""loss":"NaN","validation_loss":"NaN""#), "{json}");
        assert!(json.contains(r#""min":-0.0,"middle":"-inf""#), "{json}");
        let back: Record = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
        assert!(back.loss.is_nan());
    }

    #[test]
    fn records_of_one_rank_say_nothing_of_a_wire() {
        let alone = Record { wire: None, ..record(1) };
        let json = serde_json::to_string(&alone).unwrap();
        assert!(!json.contains("wire"), "{json}");
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), alone);
    }

    #[test]
    fn a_ranks_share_is_the_mean() {
        let books = [("weights", "all_gather", 900), ("scalars", "all_reduce", 101)];
        let wire = Wire::new(4, books, 2000);
        assert_eq!((wire.bytes(), wire.of_a_rank(wire.bytes())), (1001, 250.25));
        let json = serde_json::to_value(&wire.sent[1]).unwrap();
        let expected =
            serde_json::json!({ "kind": "scalars", "collective": "all_reduce", "bytes": 101 });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_line_torn_anywhere_is_left_out_and_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let ends = file(&path, 2);
        let whole = fs::read(&path).unwrap();
        for length in ends[0]..ends[1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(&path).unwrap(), [record(1)], "{length} bytes");
            let mut writer = MetricsWriter::resume(&path, 9).unwrap();
            writer.append(&record(2)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "{length} bytes");
        }
    }

    #[test]
    fn records_beyond_the_checkpoint_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        for step in 0..=4_usize {
            let ends = file(&path, 4);
            let torn = [fs::read(&path).unwrap(), b"{\"step\":5".to_vec()].concat();
            fs::write(&path, torn).unwrap();
            MetricsWriter::resume(&path, step as u64).unwrap();
            let end = step.checked_sub(1).map_or(0, |last| ends[last]);
            assert_eq!(fs::metadata(&path).unwrap().len(), end as u64, "step {step}");
        }
    }

    #[test]
    fn a_whole_line_that_is_no_record_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        file(&path, 1);
        let damaged = [fs::read(&path).unwrap(), b"{}\n".to_vec()].concat();
        fs::write(&path, damaged).unwrap();
        let error = MetricsWriter::resume(&path, 9).unwrap_err();
        assert!(matches!(error, Error::MetricsLine { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_run_does_not_write_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        file(&path, 1);
        MetricsWriter::create(&path).unwrap_err();
    }
}
