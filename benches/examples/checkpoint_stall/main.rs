//! How long training stands still for a checkpoint, and how much slower the step beside its writing is.
//! `cargo run --release -p fp8lm-benches --example checkpoint_stall`.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{
    error::Error,
    fs,
    path::Path,
    sync::atomic::AtomicUsize,
    time::{Duration, Instant},
};

use fp8lm_sim::{Emulator, Rank, World, WorldOptions};
use fp8lm_trainer::{Config, Place, Plan, Session};

/// A name, the preset, and what is changed in it.
type Case = (&'static str, &'static str, &'static [&'static str]);

const CASES: [Case; 3] = [
    ("quickstart", "quickstart", &["data.batch=4"]),
    ("quickstart, 4 ranks", "quickstart", &["data.batch=4", "parallel.data=4"]),
    ("gpt-125m", "gpt-125m", LARGE),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("| run | checkpoint | stands still | a step | the step after |");
    println!("|---|---|---|---|---|");
    CASES.iter().try_for_each(print_row)
}

fn print_row((name, preset, sets): &Case) -> Result<(), Box<dyn Error>> {
    let every = [format!("run.checkpoint_every={EVERY}"), format!("run.steps={STEPS}")];
    let sets: Vec<_> =
        COMMON.iter().chain(*sets).map(|set| (*set).to_owned()).chain(every).collect();
    let plan = Plan::new(Config::load(preset, None, &sets)?)?;
    let folder = tempfile::tempdir()?;
    let run = folder.path().join("run");
    let options = WorldOptions { ranks: plan.ranks(), ..Default::default() };
    let ends = World::new(&Emulator::default(), options).run(|Rank { device, link }| {
        steps(&run, &Place { device, link: Some(link) }, plan.clone())
    })?;
    let (steps, stalled) = &ends[0];
    // Behind the record of step n comes its checkpoint, then step n + 1.
    let behind = |distance| -> Vec<Duration> {
        let saved = (EVERY..steps.len()).step_by(EVERY);
        saved.filter_map(|n| steps.get(n - 1 + distance).copied()).collect()
    };
    let [next, plain] = [0, EVERY - 2].map(|distance| median(behind(distance)));
    let stall = *stalled / u32::try_from(STEPS / EVERY)?;
    let mib = size(&run.join("checkpoints"))? as f64 / f64::from(1 << 20);
    let [stall, plain, next] =
        [stall, plain, next.saturating_sub(stall)].map(|t| t.as_secs_f64() * 1e3);
    println!("| {name} | {mib:.1} MiB | {stall:.1} ms | {plain:.1} ms | {next:.1} ms |");
    Ok(())
}

/// The time from each step's record to the next one's, on the first rank, and what of it checkpoints took.
fn steps(
    run: &Path,
    place: &Place,
    plan: Plan,
) -> fp8lm_trainer::Result<(Vec<Duration>, Duration)> {
    let mut seen = Vec::new();
    let mut session = Session::create(run, place, plan)?;
    session.run(&AtomicUsize::new(0), &mut |_| seen.push(Instant::now()))?;
    Ok((seen.windows(2).map(|pair| pair[1] - pair[0]).collect(), session.stalled()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Bytes of the last checkpoint.
fn size(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let newest = fs::read_dir(folder)?.filter_map(Result::ok).max_by_key(|entry| entry.file_name());
    Ok(newest.ok_or("a run saves checkpoints")?.metadata()?.len())
}

const STEPS: usize = 40;
const EVERY: usize = 8;
const COMMON: &[&str] = &[
    "run.log_every=1",
    "run.evaluate_every=1000000",
    "run.evaluate_batches_at_end=1",
    "run.keep_checkpoints=2",
];
/// A step of few tokens: what is measured is how much state there is to save.
const LARGE: &[&str] =
    &["data.tokenizer=bytes", "data.batch=1", "data.micro_batches=1", "model.context=32"];
