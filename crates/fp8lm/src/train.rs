//! `fp8lm train`.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context, Result};
use fp8lm_device::Device;
use fp8lm_sim::{Emulator, Options};
use fp8lm_trainer::{Config, Ending, Plan, Session, Summary, write_report};

use crate::{cli::TrainArgs, progress::Progress, stop, table};

/// Trains, and prints the summary.
pub(crate) fn run(args: &TrainArgs) -> Result<ExitCode> {
    let stop = stop::flag()?;
    let mut sessions = match &args.resume {
        Some(folder) => resume(folder, &args.sets)?,
        None => create(args)?,
    };
    for session in &mut sessions {
        if train(session, &stop, args.quiet)? == Ending::Stopped {
            return stopped(&sessions[0]);
        }
    }
    let sessions = sessions.iter().collect::<Vec<_>>();
    let report = sessions[0].folder().report();
    write_report(&report, &title(&sessions), &sessions)?;
    if !args.quiet {
        let summaries = sessions.iter().map(|session| session.summary());
        print_summary(&summaries.collect::<Result<Vec<_>, _>>()?, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The run, and the one it is compared with. Both folders are made before the first step, so that
/// whatever interrupts them finds both.
fn create(args: &TrainArgs) -> Result<Vec<Session>> {
    let mut config = Config::load(&args.preset, args.config.as_deref(), &args.sets)?;
    if !args.data.is_empty() {
        config.data.files = args.data.clone();
    }
    let plan = Plan::new(config.clone())?;
    let baseline = match &args.compare {
        Some(recipe) => Some(Plan::new(config.compared_with(recipe))?),
        None => None,
    };
    let folder = match &args.run {
        Some(folder) => folder.clone(),
        None => new_folder(&args.preset, &plan.recipe().name)?,
    };
    let mut sessions = vec![Session::create(&folder, device(&plan), plan)?];
    if let Some(plan) = baseline {
        let folder = folder.join(format!("{BASELINE}{}", plan.recipe().name));
        sessions.push(Session::create(&folder, device(&plan), plan)?);
    }
    Ok(sessions)
}

/// A run's folder again, and that of the run it is compared with.
fn resume(folder: &Path, sets: &[String]) -> Result<Vec<Session>> {
    let mut folders = vec![folder.to_owned()];
    folders.extend(baselines(folder)?);
    let open = |folder: &PathBuf| {
        let plan = Plan::new(Config::of_run(folder, sets)?)?;
        Ok(Session::resume(folder, device(&plan), plan)?)
    };
    folders.iter().map(open).collect()
}

fn train(session: &mut Session, stop: &Arc<AtomicBool>, quiet: bool) -> Result<Ending> {
    let plan = session.trainer().plan();
    let (done, steps) = (session.trainer().steps_done(), plan.config().run.steps);
    if !quiet {
        let mut out = io::stderr().lock();
        // A closed error stream must not stop the run.
        let _ = writeln!(out, "{plan}\n{}", plan.memory_table(None));
    }
    let progress = Progress::new(quiet, &plan.recipe().name, done, steps);
    let ending = session.run(stop, &mut |record| progress.show(record));
    progress.end();
    if !quiet && matches!(ending, Ok(Ending::Finished)) {
        let usage = session.trainer().device().usage();
        let table = session.trainer().plan().memory_table(Some(&usage));
        let _ = writeln!(io::stderr(), "\n{table}");
    }
    Ok(ending?)
}

fn stopped(session: &Session) -> Result<ExitCode> {
    let folder = session.folder().path().display();
    writeln!(io::stderr(), "stopped; go on with: fp8lm train --resume {folder}")?;
    Ok(stop::interrupted())
}

fn title(sessions: &[&Session]) -> String {
    let names = sessions.iter().map(|session| session.trainer().plan().recipe().name.as_str());
    names.collect::<Vec<_>>().join(" and ")
}

fn print_summary(summaries: &[Summary], report: &Path) -> Result<()> {
    let heading = [
        "recipe",
        "bytes a parameter",
        "training loss",
        "validation loss",
        "nats a byte",
        "tokens/s",
        "seconds",
        "skipped",
    ];
    let mut rows = vec![heading.map(String::from)];
    rows.extend(summaries.iter().map(row));
    let mut out = io::stdout().lock();
    write!(out, "{}", table::align(&rows))?;
    if let [run, baseline] = summaries {
        if let (Some(loss), Some(reference)) = (run.validation_loss, baseline.validation_loss) {
            let percent = 100.0 * (loss / reference - 1.0);
            let (run, baseline) = (&run.recipe, &baseline.recipe);
            writeln!(out, "validation loss of {run} over {baseline}'s: {percent:+.2} %")?;
        }
    }
    writeln!(out, "report: {}", report.display())?;
    Ok(())
}

fn row(summary: &Summary) -> [String; 8] {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    [
        summary.recipe.clone(),
        format!("{:.2}", summary.bytes_per_parameter),
        figure(Some(summary.training_loss)),
        figure(summary.validation_loss),
        figure(summary.validation_loss_per_byte),
        format!("{:.0}", summary.tokens_per_second),
        format!("{:.0}", summary.seconds),
        summary.skipped.to_string(),
    ]
}

fn device(plan: &Plan) -> Arc<dyn Device> {
    let mut options = Options::default();
    if plan.config().run.threads > 0 {
        options.threads = plan.config().run.threads;
    }
    Arc::new(Emulator::new(options))
}

/// The first free folder under `runs/`.
fn new_folder(preset: &str, recipe: &str) -> Result<PathBuf> {
    let free = |number: u32| Path::new("runs").join(format!("{preset}-{recipe}-{number}"));
    let folder = (1..).map(free).find(|folder| !folder.exists());
    folder.context("runs/ holds too many runs")
}

/// The folders of the runs that a run is compared with.
fn baselines(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(BASELINE) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// What the name of a folder of comparison starts with.
const BASELINE: &str = "baseline-";
