//! Progress: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use fp8lm_trainer::run::metrics::Record;
use indicatif::{ProgressBar, ProgressStyle};

/// Where a run stands.
#[derive(Debug)]
pub(crate) enum Progress {
    Silent,
    Bar(ProgressBar),
    /// One line each so many steps.
    Lines {
        name: String,
        steps: u64,
        every: u64,
    },
}

impl Progress {
    /// Of a run of so many steps, of which some are done.
    pub(crate) fn new(quiet: bool, name: &str, done: u64, steps: u64) -> Self {
        if quiet {
            return Self::Silent;
        }
        if io::stderr().is_terminal() {
            return Self::bar(name, done, steps);
        }
        Self::Lines { name: name.to_owned(), steps, every: (steps / LINES).max(1) }
    }

    /// Shows a record.
    pub(crate) fn show(&self, record: &Record) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_position(record.step);
                bar.set_message(figures(record));
            }
            Self::Lines { name, steps, every } => {
                let due = record.step.is_multiple_of(*every) || record.validation_loss.is_some();
                if due {
                    // A closed error stream must not stop the run.
                    let figures = figures(record);
                    let _ =
                        writeln!(io::stderr(), "{name}  step {}/{steps}  {figures}", record.step);
                }
            }
        }
    }

    /// Leaves the last figures on the screen.
    pub(crate) fn end(self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }

    fn bar(name: &str, done: u64, steps: u64) -> Self {
        let template = "{prefix:>8} {wide_bar} {pos}/{len}  {msg}  {eta} left";
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::new(steps)
            .with_prefix(name.to_owned())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        Self::Bar(bar)
    }
}

fn figures(record: &Record) -> String {
    let mut text = format!("loss {:.4}", record.loss);
    if let Some(loss) = record.validation_loss {
        text += &format!("  validation {loss:.4}");
    }
    text + &format!("  {:.0} tokens/s", record.timing.tokens_per_second)
}

/// Plain lines of a whole run, about.
const LINES: u64 = 30;
