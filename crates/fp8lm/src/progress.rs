//! Progress: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use fp8lm_trainer::run::metrics::Record;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Where a run stands.
#[derive(Debug)]
pub(crate) enum Progress {
    Silent,
    Bar(ProgressBar),
    /// A line at the first record beyond each so many steps.
    Lines {
        name: String,
        steps: u64,
        every: u64,
        next: u64,
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
        let every = (steps / LINES).max(1);
        Self::Lines { name: name.to_owned(), steps, every, next: done + 1 }
    }

    /// Shows a record.
    pub(crate) fn show(&mut self, record: &Record) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_position(record.step);
                bar.set_message(figures(record));
            }
            Self::Lines { name, steps, every, next } => {
                if record.step >= *next || record.validation_loss.is_some() {
                    *next = record.step + *every;
                    let (step, left) = (record.step, left(record, *steps));
                    let line =
                        format!("{name}  step {step}/{steps}  {}  {left} left", figures(record));
                    // A closed error stream must not stop the run.
                    let _ = writeln!(io::stderr(), "{line}");
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

/// The time to the last step, at the speed of this one.
fn left(record: &Record, steps: u64) -> HumanDuration {
    let tokens = record.tokens as f64 / record.step as f64 * (steps - record.step) as f64;
    let seconds = tokens / record.timing.tokens_per_second;
    HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Plain lines of a whole run, about.
const LINES: u64 = 30;
