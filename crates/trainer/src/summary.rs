//! What a run comes to: its figures, and the report of several runs.

use std::path::Path;

use crate::{
    Result, Session,
    plan::PlannedRow,
    run::{
        RunFolder,
        metrics::{self, Record},
        report::{self, MemoryRow, Report, Series},
    },
};

/// The figures of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The recipe's name.
    pub recipe: String,
    /// The mean training loss of the last ten records, in nats a token.
    pub training_loss: Option<f64>,
    /// The last validation loss, in nats a token.
    pub validation_loss: Option<f64>,
    /// The mean of the validation loss a byte of text, in nats.
    pub validation_loss_per_byte: Option<f64>,
    /// Bytes a parameter of the linears.
    pub bytes_per_parameter: f64,
    /// Tokens over seconds, evaluation and checkpoints included.
    pub tokens_per_second: Option<f64>,
    /// Seconds in all.
    pub seconds: f64,
    /// Steps that were skipped, because a gradient was not finite.
    pub skipped: u64,
}

impl Session {
    /// The figures of the run so far.
    pub fn summary(&self) -> Result<Summary> {
        let records = self.records()?;
        let last = records.last();
        let validation_loss = metrics::validation_loss(&records);
        let bytes = self.trainer().corpus().bytes_per_token();
        let seconds = last.map_or(0.0, |record| record.timing.seconds);
        Ok(Summary {
            recipe: self.trainer().plan().recipe().name.clone(),
            training_loss: metrics::training_loss(&records),
            validation_loss,
            validation_loss_per_byte: validation_loss.map(|loss| loss / bytes),
            bytes_per_parameter: self.trainer().plan().bytes_per_parameter(),
            tokens_per_second: last.map(|record| record.tokens as f64 / seconds),
            seconds,
            skipped: last.map_or(0, |record| record.skipped),
        })
    }

    /// The run as a report shows it.
    pub fn series(&self) -> Result<Series> {
        let plan = self.trainer().plan();
        let (name, plan) = (plan.recipe().name.clone(), plan.to_string());
        Ok(Series { name, plan, records: self.records()?, memory: self.memory() })
    }

    /// The memory table: what was planned, and what the labelled allocations come to, in the mean of ranks.
    fn memory(&self) -> Vec<MemoryRow> {
        let mut ranks = self.trainer().plan().memory_by_rank().iter().zip(self.usage());
        let rows = |(planned, usage): (&Vec<PlannedRow>, _)| -> Vec<MemoryRow> {
            planned.iter().map(|row| row.report(usage)).collect()
        };
        let Some(mut sums) = ranks.next().map(rows) else { return Vec::new() };
        for other in ranks.map(rows) {
            for (sum, row) in sums.iter_mut().zip(other) {
                sum.bytes += row.bytes;
                sum.planned += row.planned;
            }
        }
        let count = self.usage().len() as u64;
        for sum in &mut sums {
            sum.bytes /= count;
            sum.planned /= count;
        }
        sums
    }

    fn records(&self) -> Result<Vec<Record>> {
        Ok(metrics::read(&RunFolder::metrics_of(self.path()))?)
    }
}

/// Writes the report of `sessions`, the one of most interest first; the last is the baseline, if
/// there is more than one.
pub fn write_report(path: &Path, title: &str, sessions: &[&Session]) -> Result<()> {
    let series = sessions.iter().map(|session| session.series()).collect::<Result<Vec<_>>>()?;
    let baseline = series.len().checked_sub(1).filter(|&last| last > 0);
    Ok(report::write(path, &Report { title: title.to_owned(), series, baseline })?)
}
