//! What was checked, with what result, and how long it took.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;

/// The checks so far.
#[derive(Default)]
pub(super) struct Report {
    filter: String,
    rows: Vec<Row>,
}

/// The result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    /// Why it could not or should not run.
    Skipped(&'static str),
}

struct Row {
    name: String,
    outcome: Outcome,
    time: Duration,
}

impl Report {
    /// A report on checks whose name contains `filter`.
    pub(super) fn of(filter: &str) -> Self {
        Self { filter: filter.to_owned(), ..Self::default() }
    }

    /// Announces a check, runs it and notes its result. One that cannot be run has failed.
    pub(super) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<Outcome>) {
        if !name.contains(&self.filter) {
            return;
        }
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = check().unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Outcome::Failed
        });
        self.rows.push(Row { name: name.to_owned(), outcome, time: start.elapsed() });
    }

    /// Whether no check failed.
    pub(super) fn is_passed(&self) -> bool {
        self.count(Outcome::is_failed) == 0
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| is(&row.outcome)).count()
    }
}

impl Outcome {
    fn is_passed(&self) -> bool {
        *self == Self::Passed
    }

    fn is_failed(&self) -> bool {
        *self == Self::Failed
    }

    fn is_skipped(&self) -> bool {
        matches!(self, Self::Skipped(_))
    }
}

impl From<bool> for Outcome {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(f, "passed"),
            Self::Failed => write!(f, "FAILED"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("check".len());
        writeln!(f, "{:width$}  seconds  result", "check")?;
        for Row { name, outcome, time } in &self.rows {
            writeln!(f, "{name:width$}  {:7.1}  {outcome}", time.as_secs_f64())?;
        }
        let passed = self.count(Outcome::is_passed);
        let failed = self.count(Outcome::is_failed);
        let skipped = self.count(Outcome::is_skipped);
        write!(f, "\n{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[(&str, Outcome)]) -> Report {
        let row = |&(name, outcome): &(&str, Outcome)| {
            let name = name.to_owned();
            Row { name, outcome, time: Duration::from_millis(1250) }
        };
        Report { rows: outcomes.iter().map(row).collect(), ..Report::default() }
    }

    #[test]
    fn only_checks_whose_name_contains_the_filter_run() {
        let mut report = Report::of("b");
        report.check("ab", || Ok(Outcome::Passed));
        report.check("ac", || Ok(Outcome::Failed));
        assert!(report.is_passed());
        assert_eq!(report.rows.len(), 1);
    }

    #[test]
    fn the_table_ends_with_the_counts() {
        let skipped = Outcome::Skipped("no nightly");
        let report = report(&[("a", Outcome::Passed), ("longer", Outcome::Failed), ("c", skipped)]);
        let table = "check   seconds  result\n\
                     a           1.2  passed\n\
                     longer      1.2  FAILED\n\
                     c           1.2  skipped: no nightly\n\
                     \n1 passed, 1 failed, 1 skipped";
        assert_eq!(report.to_string(), table);
    }

    #[test]
    fn one_failure_fails_the_whole_and_a_skip_does_not() {
        assert!(report(&[("a", Outcome::Passed), ("b", Outcome::Skipped("why"))]).is_passed());
        assert!(!report(&[("a", Outcome::Passed), ("b", Outcome::Failed)]).is_passed());
    }

    #[test]
    fn a_check_that_cannot_be_run_has_failed() {
        let mut report = Report::default();
        report.check("a", || anyhow::bail!("no such program"));
        assert!(!report.is_passed());
    }
}
