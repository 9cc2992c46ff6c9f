//! `fp8lm train`.

use std::{
    io::{self, Write},
    path::{self, Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context, Result};
use fp8lm_device::Device;
use fp8lm_ops::Accumulate;
use fp8lm_sim::Options;
use fp8lm_trainer::{Config, Ending, Plan, Session, Summary, text::align, write_report};

use crate::{
    cli::{ConfigArgs, DeviceArgs, TrainArgs},
    progress::Progress,
    stop,
};

/// Trains, and prints the summary.
pub(crate) fn run(args: &TrainArgs) -> Result<ExitCode> {
    let stop = stop::flag()?;
    let mut sessions = match &args.resume {
        Some(folder) => resume(folder, args)?,
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

impl ConfigArgs {
    /// The configuration that they describe.
    pub(crate) fn load(&self) -> Result<Config> {
        Ok(Config::load(&self.preset, self.config.as_deref(), &self.sets())?)
    }

    /// All assignments, the last of equals to win.
    fn sets(&self) -> Vec<String> {
        let ranks = self.ranks.map(|ranks| format!("parallel.data={ranks}"));
        self.sets.iter().cloned().chain(ranks).collect()
    }
}

/// A new run, and the one it is compared with.
fn create(args: &TrainArgs) -> Result<Vec<Session>> {
    let mut config = args.config.load()?;
    if !args.data.is_empty() {
        config.data.files.clone_from(&args.data);
    }
    // The run may be resumed from another folder.
    for file in &mut config.data.files {
        *file = path::absolute(&*file)?;
    }
    if let Some(recipe) = &args.compare {
        fp8lm_scaling::recipe(recipe)?;
        config.run.compare = Some(recipe.clone());
    }
    if args.device.device.is_gpu() {
        // Its tensor cores' own; the chain of a CPU would go by its slow ones.
        config.recipe.accumulate.get_or_insert(Accumulate::Cublaslt);
    }
    let plan = Plan::new(config)?;
    let folder = match &args.run {
        Some(folder) => folder.clone(),
        None => new_folder(&args.config.preset, &plan.recipe().name)?,
    };
    let device = open(&args.device, &plan)?;
    with_baseline(Session::create(&folder, device, plan)?, &args.device)
}

/// A run again, and the one it is compared with.
fn resume(folder: &Path, args: &TrainArgs) -> Result<Vec<Session>> {
    let plan = Plan::new(Config::of_run(folder, &args.config.sets())?)?;
    let device = open(&args.device, &plan)?;
    with_baseline(Session::resume(folder, device, plan)?, &args.device)
}

/// The run that `session` is compared with stands in a folder inside its own. Whatever came
/// between, it is begun if it was not, and gone on with if it was.
fn with_baseline(session: Session, args: &DeviceArgs) -> Result<Vec<Session>> {
    let Some(config) = session.trainer().plan().config().baseline() else {
        return Ok(vec![session]);
    };
    let plan = Plan::new(config)?;
    let folder = session.folder().path().join(format!("baseline-{}", plan.recipe().name));
    let device = open(args, &plan)?;
    let baseline = match folder.join("config.toml").exists() {
        true => Session::resume(&folder, device, plan)?,
        false => Session::create(&folder, device, plan)?,
    };
    Ok(vec![session, baseline])
}

fn train(session: &mut Session, stop: &Arc<AtomicBool>, quiet: bool) -> Result<Ending> {
    let plan = session.trainer().plan();
    let (done, steps) = (session.trainer().steps_done(), plan.config().run.steps);
    if !quiet {
        let mut out = io::stderr().lock();
        // A closed error stream must not stop the run.
        let _ = writeln!(out, "{plan}\n{}", plan.memory_table(&[]));
    }
    let mut progress = Progress::new(quiet, &plan.recipe().name, done, steps);
    let ending = session.run(stop, &mut |record| progress.show(record));
    progress.end();
    if !quiet {
        let usage = session.trainer().device().usage();
        let table = session.trainer().plan().memory_table(&[usage]);
        let _ = writeln!(io::stderr(), "\n{table}");
    }
    Ok(ending?)
}

fn stopped(session: &Session) -> Result<ExitCode> {
    let folder = session.folder().path().display();
    // A closed error stream must not turn a clean stop into an error.
    let _ = writeln!(io::stderr(), "stopped; go on with: fp8lm train --resume {folder}");
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
    write!(out, "{}", align(&rows))?;
    if let [run, baseline] = summaries
        && let (Some(loss), Some(reference)) = (run.validation_loss, baseline.validation_loss)
    {
        let percent = 100.0 * (loss / reference - 1.0);
        let (run, baseline) = (&run.recipe, &baseline.recipe);
        writeln!(out, "validation loss of {run} over {baseline}'s: {percent:+.2} %")?;
    }
    writeln!(out, "report: {}", report.display())?;
    Ok(())
}

fn row(summary: &Summary) -> [String; 8] {
    let figure = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    [
        summary.recipe.clone(),
        format!("{:.2}", summary.bytes_per_parameter),
        figure(summary.training_loss),
        figure(summary.validation_loss),
        figure(summary.validation_loss_per_byte),
        summary.tokens_per_second.map_or("-".into(), |speed| format!("{speed:.0}")),
        format!("{:.0}", summary.seconds),
        summary.skipped.to_string(),
    ]
}

/// The device, with as many threads as the plan wants.
fn open(args: &DeviceArgs, plan: &Plan) -> Result<Arc<dyn Device>> {
    let mut options = Options::default();
    if plan.config().run.threads > 0 {
        options.threads = plan.config().run.threads;
    }
    args.device.open(options, &args.libraries.folders)
}

/// The first free folder under `runs/`.
fn new_folder(preset: &str, recipe: &str) -> Result<PathBuf> {
    let free = |number: u32| Path::new("runs").join(format!("{preset}-{recipe}-{number}"));
    let folder = (1..).map(free).find(|folder| !folder.exists());
    folder.context("runs/ holds too many runs")
}
