//! The report of one or several runs: one HTML file that needs nothing else.
//!
//! Summary and plots come from the runs' metrics, the memory table from the caller. The page has
//! no scripts and loads nothing; it follows the reader's light or dark theme.

mod axis;
mod figures;
mod plot;
mod stragglers;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::path::Path;

use super::durable;
use super::error::Result;
use super::metrics::Record;

/// What a report shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The page's heading.
    pub title: String,
    /// The runs, the one of most interest first.
    pub series: Vec<Series>,
    /// Which of them the others are compared with.
    pub baseline: Option<usize>,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// The run's name, such as that of its recipe.
    pub name: String,
    /// What is trained, and on which ranks, in lines; empty if unknown.
    pub plan: String,
    /// Its metrics in order of steps.
    pub records: Vec<Record>,
    /// Its memory, a row a kind; empty if unknown.
    pub memory: Vec<MemoryRow>,
}

/// The device memory of one kind of tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRow {
    /// What is stored, such as `master weight`.
    pub kind: String,
    /// Bytes that were allocated.
    pub bytes: u64,
    /// Bytes that the plan foresaw.
    pub planned: u64,
    /// The parameters that the bytes serve, for rows that count in the bytes a parameter; none for
    /// rows that stand beside them, such as scales or tensors kept in higher precision.
    pub parameters: Option<u64>,
}

/// Writes the report, in place of an earlier one.
pub fn write(path: &Path, report: &Report) -> Result<()> {
    durable::replace(path, |out| out.write_all(html(report).as_bytes()))
}

/// The report as a page of HTML.
pub fn html(report: &Report) -> String {
    let title = Escaped(&report.title);
    let summary = tables::summary(report);
    let plans: String = report.series.iter().map(plan).collect();
    let training = section("Training", &plots(figures::training(report)));
    let formats: String = report.series.iter().map(formats).collect();
    let wire: String = report.series.iter().map(tables::wire).collect();
    let wire = section("On the wire", &(plots(figures::wire(report)) + &wire));
    let stragglers: String = report.series.iter().map(stragglers::told).collect();
    let stragglers = section(
        "Ranks that others waited for",
        &(plots(stragglers::figures(report)) + &stragglers),
    );
    let memory = section("Memory", &report.series.iter().map(tables::memory).collect::<String>());
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         {summary}{plans}{training}{formats}{wire}{stragglers}{memory}</body>\n</html>\n"
    )
}

/// The section on what a run is.
fn plan(series: &Series) -> String {
    match &*series.plan {
        "" => String::new(),
        plan => format!("<h2>Plan: {}</h2>\n<pre>{}</pre>\n", Escaped(&series.name), Escaped(plan)),
    }
}

/// The section on a run's low-precision tensors.
fn formats(series: &Series) -> String {
    let title = format!("Low precision: {}", Escaped(&series.name));
    section(&title, &plots(figures::formats(series)))
}

fn plots(plots: Vec<plot::Plot>) -> String {
    let shown = plots.iter().filter(|plot| !plot.is_empty());
    shown.map(plot::Plot::html).collect()
}

/// Cards under a heading; nothing without cards.
fn section(title: &str, cards: &str) -> String {
    match cards {
        "" => String::new(),
        _ => format!("<h2>{title}</h2>\n<div class=\"grid\">\n{cards}</div>\n"),
    }
}

/// Text that HTML shows as it is.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            _ => write!(f, "{char}"),
        })
    }
}

const STYLE: &str = include_str!("report/style.css");
