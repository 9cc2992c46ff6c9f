//! What recipes, their options and meshes of ranks cost in loss: each over several seeds, beside a baseline.

mod subject;

use anyhow::{Result, ensure};

pub(crate) use self::subject::Subject;
use self::subject::{Comparison, Tolerance};
use crate::training::{self, Contestant, mean};

/// Trains the quickstart over the seeds, prints the table, and says whether every contestant stays
/// within the tolerance of the baseline while the control does not.
pub(crate) fn run(subject: Subject, seeds: u64) -> Result<bool> {
    ensure!(seeds > 0, "--seeds: expected at least 1, got 0");
    training::build()?;
    let Comparison { baseline, contestants, control, tolerance } = subject.comparison();
    let reference = losses(&baseline, seeds)?;
    println!("| {} | {} | mean | over {} |", subject.of_what(), header(seeds), baseline.name);
    println!("|---|{}---|---|", "---|".repeat(seeds as usize));
    print_row(&baseline, &reference, &reference, seeds);
    let row = |contestant: &Contestant<'_>, trained| {
        let got = losses(contestant, trained)?;
        print_row(contestant, &got, &reference, seeds);
        anyhow::Ok(got)
    };
    let mut holds = true;
    for contestant in contestants {
        holds &= is_close(&row(contestant, seeds)?, &reference, tolerance);
    }
    let passes = match &control {
        Some(control) => is_close(&row(control, 1)?, &reference, tolerance),
        None => false,
    };
    let learns = reference.iter().all(|&loss| loss < LEARNT);
    println!("\n{} below {LEARNT} nats a byte: {learns}", baseline.name);
    println!("within {tolerance}: {holds}");
    if let Some(control) = control {
        println!("{} passes: {passes}", control.name);
    }
    Ok(learns && holds && !passes)
}

fn losses(contestant: &Contestant<'_>, seeds: u64) -> Result<Vec<f64>> {
    (1..=seeds).map(|seed| loss(contestant, seed)).collect()
}

fn loss(contestant: &Contestant<'_>, seed: u64) -> Result<f64> {
    let run = contestant.run("quality", seed)?;
    training::last_loss(&training::records(&run)?)
}

/// Whether each seed's loss is within the tolerance of the baseline's with the same seed.
fn is_close(losses: &[f64], baseline: &[f64], tolerance: Tolerance) -> bool {
    losses.iter().zip(baseline).all(|(loss, reference)| tolerance.allows(loss / reference - 1.0))
}

fn header(seeds: u64) -> String {
    (1..=seeds).map(|seed| format!("seed {seed}")).collect::<Vec<_>>().join(" | ")
}

fn print_row(contestant: &Contestant<'_>, losses: &[f64], baseline: &[f64], seeds: u64) {
    let cell =
        |seed: u64| losses.get(seed as usize).map_or("-".into(), |loss| format!("{loss:.4}"));
    let cells = (0..seeds).map(cell).collect::<Vec<String>>().join(" | ");
    let mean = mean(losses);
    let over = 100.0 * (mean / training::mean(&baseline[..losses.len()]) - 1.0);
    println!("| {} | {cells} | {mean:.4} | {over:+.2} % |", contestant.name);
}

/// What the baseline must come below, in nats a byte of the King James text.
const LEARNT: f64 = 1.85;
