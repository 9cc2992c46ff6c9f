//! What recipes and their options cost in loss: each over several seeds, beside a baseline.

use anyhow::{Result, ensure};

use crate::training::{self, Contestant, mean};

/// Trainings that are held against a baseline.
struct Comparison {
    baseline: Contestant<'static>,
    contestants: &'static [Contestant<'static>],
    /// Must fail, or the comparison proves nothing.
    control: Option<Contestant<'static>>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The FP8 recipes with bf16
    Recipes,
    /// fp8lm-3 under Hopper's accumulation with fp8lm-3 summed in f32
    Accumulation,
}

impl Subject {
    fn comparison(self) -> Comparison {
        match self {
            Self::Recipes => Comparison {
                baseline: Contestant { name: "bf16", sets: &["recipe.name=bf16"] },
                contestants: &[
                    Contestant { name: "fp8lm-3", sets: &["recipe.name=fp8lm-3"] },
                    Contestant { name: "deepseek-v3", sets: &["recipe.name=deepseek-v3"] },
                ],
                // Weights that cannot take small steps.
                control: Some(Contestant {
                    name: "fp8lm-3, master in E4M3 without a scale",
                    sets: &["recipe.name=fp8lm-3", "recipe.master=e4m3"],
                }),
            },
            Self::Accumulation => Comparison {
                baseline: Contestant { name: "fp8lm-3", sets: &["recipe.name=fp8lm-3"] },
                contestants: &[
                    Contestant {
                        name: "fp8lm-3, wgmma",
                        sets: &["recipe.name=fp8lm-3", "recipe.accumulate=wgmma"],
                    },
                    Contestant {
                        name: "fp8lm-3, cublaslt",
                        sets: &["recipe.name=fp8lm-3", "recipe.accumulate=cublaslt"],
                    },
                ],
                control: None,
            },
        }
    }
}

/// Trains the quickstart over the seeds, prints the table, and says whether every contestant stays
/// within the tolerance of the baseline while the control does not.
pub(crate) fn run(subject: Subject, seeds: u64) -> Result<bool> {
    ensure!(seeds > 0, "--seeds: expected at least 1, got 0");
    training::build()?;
    let Comparison { baseline, contestants, control } = subject.comparison();
    let reference = losses(&baseline, seeds)?;
    println!("| recipe | {} | mean | over {} |", header(seeds), baseline.name);
    println!("|---|{}---|---|", "---|".repeat(seeds as usize));
    print_row(&baseline, &reference, &reference, seeds);
    let row = |contestant: &Contestant<'_>, trained| {
        let got = losses(contestant, trained)?;
        print_row(contestant, &got, &reference, seeds);
        anyhow::Ok(got)
    };
    let mut holds = true;
    for contestant in contestants {
        holds &= is_close(&row(contestant, seeds)?, &reference);
    }
    let control_fails = match control {
        Some(control) => !is_close(&row(&control, 1)?, &reference),
        None => true,
    };
    let learns = reference.iter().all(|&loss| loss < LEARNT);
    println!("\n{} below {LEARNT} nats a byte: {learns}", baseline.name);
    println!("within {:.0} %: {holds}; no control passes: {control_fails}", 100.0 * TOLERANCE);
    Ok(learns && holds && control_fails)
}

fn losses(contestant: &Contestant<'_>, seeds: u64) -> Result<Vec<f64>> {
    (1..=seeds).map(|seed| loss(contestant, seed)).collect()
}

fn loss(contestant: &Contestant<'_>, seed: u64) -> Result<f64> {
    let run = contestant.run("quality", seed)?;
    training::last_loss(&training::records(&run)?)
}

/// Whether each seed's loss is within the tolerance of the baseline's with the same seed.
fn is_close(losses: &[f64], baseline: &[f64]) -> bool {
    losses.iter().zip(baseline).all(|(loss, reference)| loss / reference - 1.0 <= TOLERANCE)
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
/// How far above the baseline a loss may be.
const TOLERANCE: f64 = 0.01;
