//! FP8-LM's ablation of the optimizer (arXiv 2310.18313, table 6 and figure 8) at the size of the quickstart: which
//! states bear which formats, each over several seeds beside bf16.

mod experiment;
mod page;
mod picture;
mod second_moment;
mod verdict;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::{
    cargo,
    training::{self, Contestant, Record},
};

pub(crate) use experiment::Experiment;
use experiment::{BASELINE, Row};
use verdict::{Course, Verdict, Yardstick};

/// What came of a row: its runs, by seed.
struct Outcome {
    row: &'static Row,
    folders: Vec<PathBuf>,
    runs: Vec<Vec<Record>>,
    courses: Vec<Course>,
}

/// Makes the runs that are not there yet, prints the table, writes it into `docs/ablation.md`, and draws the curves of
/// the grid beside it. Whether the baseline learns, without which nothing can be said.
pub(crate) fn run(experiment: Experiment, seeds: u64) -> Result<bool> {
    ensure!(seeds > 0, "--seeds: expected at least 1, got 0");
    training::build()?;
    let rows = experiment.rows();
    let outcomes = rows.iter().map(|row| outcome(row, seeds));
    let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
    let baseline = outcomes.iter().find(|outcome| outcome.row.name == BASELINE);
    let baseline = baseline.context("the experiment has no baseline")?;
    let yardstick = Yardstick::of(&baseline.courses);
    let moments = second_moment::table(&outcomes, baseline)?;
    let table = format!("{}\n{moments}", page::table(&outcomes, &yardstick));
    println!("{table}");
    let docs = cargo::root().join("docs");
    page::write(&docs.join("ablation.md"), experiment.name(), &table)?;
    if experiment == Experiment::Grid {
        picture::draw(&docs.join("ablation.svg"), &outcomes, baseline, &yardstick)?;
    }
    Ok(yardstick.judge(&baseline.courses) != Verdict::Diverges)
}

fn outcome(row: &'static Row, seeds: u64) -> Result<Outcome> {
    let contestant = Contestant { name: row.name, sets: row.sets };
    let folders = (1..=seeds).map(|seed| contestant.run("ablation", seed));
    let folders = folders.collect::<Result<Vec<_>>>()?;
    let runs = folders.iter().map(|run| training::records(run)).collect::<Result<Vec<_>>>()?;
    let courses = runs.iter().map(|records| Course::of(records)).collect::<Result<_>>()?;
    Ok(Outcome { row, folders, runs, courses })
}
