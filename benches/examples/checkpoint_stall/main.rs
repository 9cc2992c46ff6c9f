//! How long training stands still for a checkpoint: the steps with which one is saved, beside those around them.
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

const CASES: [Case; 4] = [
    ("quickstart", "quickstart", &["data.batch=4"]),
    ("quickstart, 4 ranks", "quickstart", &["data.batch=4", "parallel.data=4"]),
    ("gpt-125m", "gpt-125m", LARGE),
    ("gpt-125m in bf16", "gpt-125m", BF16),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("| run | checkpoint | a step | with a checkpoint | the step after | stall |");
    println!("|---|---|---|---|---|---|");
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
    let steps = &ends[0];
    // The checkpoint of step n is in the interval between its record and the next.
    let behind = |distance| -> Vec<Duration> {
        let saved = (EVERY..steps.len()).step_by(EVERY);
        saved.filter_map(|n| steps.get(n - 1 + distance).copied()).collect()
    };
    let [with, next, plain] = [0, 1, EVERY - 2].map(|distance| median(behind(distance)));
    let mib = size(&run.join("checkpoints"))? as f64 / f64::from(1 << 20);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "| {name} | {mib:.1} MiB | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |",
        ms(plain),
        ms(with),
        ms(next),
        ms(with) - ms(plain)
    );
    Ok(())
}

/// The time from each step's record to the next one's, on the first rank.
fn steps(run: &Path, place: &Place, plan: Plan) -> fp8lm_trainer::Result<Vec<Duration>> {
    let mut seen = Vec::new();
    let mut session = Session::create(run, place, plan)?;
    session.run(&AtomicUsize::new(0), &mut |_| seen.push(Instant::now()))?;
    Ok(seen.windows(2).map(|pair| pair[1] - pair[0]).collect())
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

const STEPS: usize = 65;
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
const BF16: &[&str] = &[
    "data.tokenizer=bytes",
    "data.batch=1",
    "data.micro_batches=1",
    "model.context=32",
    "recipe.name=bf16",
];
