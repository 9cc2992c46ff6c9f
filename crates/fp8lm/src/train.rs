//! `fp8lm train`.

use std::{
    env,
    io::{self, Write},
    path::{self, Path, PathBuf},
    process::ExitCode,
    sync::atomic::AtomicUsize,
};

use anyhow::{Context, Result, ensure};
use fp8lm_ops::Accumulate;
use fp8lm_trainer::{
    Config, Ending, Place, Plan, Session, Start, Summary, run::checkpoint::Damaged, text::align,
    write_report,
};

use crate::{
    cli::{ConfigArgs, LinkKind, TrainArgs},
    progress::Progress,
    ranks,
    stop::{self, Stop},
};

/// Trains, and prints the summary.
pub(crate) fn run(args: &TrainArgs) -> Result<ExitCode> {
    let stop = Stop::catch()?;
    expect_folder(args)?;
    let runs = match &args.resume {
        Some(folder) => resume(folder, args)?,
        None => create(args)?,
    };
    ranks::run(args, &runs[0].plan, |place| train_all(place, &runs, &stop, args.quiet))
}

/// Processes that each chose a folder would choose different ones.
fn expect_folder(args: &TrainArgs) -> Result<()> {
    let has_folder = args.run.is_some() || args.resume.is_some();
    ensure!(
        args.link == LinkKind::Threads || has_folder,
        "--link: expected --run or --resume with a folder for ranks that are processes"
    );
    Ok(())
}

/// A run that is to be begun, or gone on with.
struct Run {
    folder: PathBuf,
    plan: Plan,
    start: Start,
}

impl Run {
    fn open(&self, place: &Place) -> Result<Session> {
        let session = Session::open(&self.folder, place, self.plan.clone(), self.start)?;
        for Damaged { error, moved } in session.damaged() {
            let moved = moved.display();
            // A closed error stream must not stop the run.
            let _ = writeln!(io::stderr(), "fp8lm: warning: {error}; it is {moved} now");
        }
        Ok(session)
    }
}

impl ConfigArgs {
    /// The configuration that they describe.
    pub(crate) fn load(&self) -> Result<Config> {
        Ok(Config::load_on(&self.preset, self.config.as_deref(), &self.sets, self.ranks)?)
    }
}

/// A new run, and the one it is compared with.
fn create(args: &TrainArgs) -> Result<Vec<Run>> {
    let mut config = args.config.load()?;
    if let Some(ranks) = processes(args, &config)? {
        config = ConfigArgs { ranks: Some(ranks), ..args.config.clone() }.load()?;
    }
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
    let start = if args.restart { Start::Restart } else { Start::New };
    with_baseline(Run { folder, plan, start })
}

/// The ranks that there are now, if a restart is to take them as they are.
fn processes(args: &TrainArgs, config: &Config) -> Result<Option<u32>> {
    let is_elastic = args.restart && args.link != LinkKind::Threads && config.parallel.elastic;
    if !is_elastic || args.config.ranks.is_some() {
        return Ok(None);
    }
    let identity = fp8lm_rendezvous::discover(&|name| env::var(name).ok())?;
    Ok(identity.map(|identity| identity.world_size.try_into()).transpose()?)
}

/// A run again, and the one it is compared with.
fn resume(folder: &Path, args: &TrainArgs) -> Result<Vec<Run>> {
    let plan = Plan::new(Config::of_run(folder, &args.config.sets, args.config.ranks)?)?;
    with_baseline(Run { folder: folder.to_owned(), plan, start: Start::Resume })
}

/// The run that `run` is compared with stands in a folder inside its own. Whatever came between, it is begun if it was
/// not, and gone on with if it was.
fn with_baseline(run: Run) -> Result<Vec<Run>> {
    let Some(config) = run.plan.config().baseline() else { return Ok(vec![run]) };
    let plan = Plan::new(config)?;
    let folder = run.folder.join(format!("baseline-{}", plan.recipe().name));
    let start = if run.start == Start::Resume { Start::Either } else { run.start };
    Ok(vec![run, Run { folder, plan, start }])
}

/// Trains on one rank. The first speaks for all.
fn train_all(place: &Place, runs: &[Run], stop: &Stop, quiet: bool) -> Result<ExitCode> {
    let quiet = quiet || place.rank() > 0;
    let mut sessions = runs.iter().map(|run| run.open(place)).collect::<Result<Vec<_>>>()?;
    stop.started();
    for session in &mut sessions {
        if let Ending::Stopped { asked } = train(session, stop.asked(), quiet)? {
            return Ok(stopped(&sessions[0], asked));
        }
    }
    let sessions = sessions.iter().collect::<Vec<_>>();
    let Some(folder) = sessions[0].folder() else { return Ok(ExitCode::SUCCESS) };
    let report = folder.report();
    write_report(&report, &title(&sessions), &sessions)?;
    if !quiet {
        let summaries = sessions.iter().map(|session| session.summary());
        print_summary(&summaries.collect::<Result<Vec<_>, _>>()?, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn train(session: &mut Session, asked: &AtomicUsize, quiet: bool) -> Result<Ending> {
    let plan = session.trainer().plan();
    let (done, steps) = (session.trainer().steps_done(), plan.config().run.steps);
    if !quiet {
        let mut out = io::stderr().lock();
        // A closed error stream must not stop the run.
        let _ = writeln!(out, "{plan}\n{}", plan.memory_table(&[]));
    }
    if done == steps && !quiet {
        let folder = session.path().display();
        let _ = writeln!(io::stderr(), "{folder} has all of its {steps} steps");
    }
    let mut progress = Progress::new(quiet, &plan.recipe().name, done, steps);
    let ending = session.run(asked, &mut |record| progress.show(record));
    progress.end();
    let ending = ending?;
    // Every rank tells of its memory.
    let usage = session.measure_memory()?.to_vec();
    if !quiet {
        let table = session.trainer().plan().memory_table(&usage);
        let _ = writeln!(io::stderr(), "\n{table}");
    }
    Ok(ending)
}

fn stopped(session: &Session, asked: usize) -> ExitCode {
    if let Some(folder) = session.folder() {
        let folder = folder.path().display();
        // A closed error stream must not turn a clean stop into an error.
        let _ = writeln!(io::stderr(), "stopped; go on with: fp8lm train --resume {folder}");
    }
    stop::exit(asked).into()
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

/// The first free folder under `runs/`.
fn new_folder(preset: &str, recipe: &str) -> Result<PathBuf> {
    let free = |number: u32| Path::new("runs").join(format!("{preset}-{recipe}-{number}"));
    let folder = (1..).map(free).find(|folder| !folder.exists());
    folder.context("runs/ holds too many runs")
}
