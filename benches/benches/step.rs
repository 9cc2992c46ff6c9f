//! One training step of a small GPT on the emulator with two threads, in tokens a second, as a
//! share of the machine's peak, and kernel by kernel: `cargo bench -p fp8lm-benches --bench step`.
//!
//! `benches/peers/torch_step.py` takes the same step in PyTorch.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use fp8lm_benches::{
    peak::FmaPeak,
    timed::{KernelTime, Timed},
};
use fp8lm_sim::{Emulator, Options};
use fp8lm_trainer::{Config, Plan, Result, Trainer};

const THREADS: usize = 2;
const MODELS: [&str; 2] = ["f32", "wgmma"];
/// Model `S`: 4 layers of width 256, GELU, LayerNorm, 8 sequences of 256 bytes.
const S: [&str; 11] = [
    "model.layers=4",
    "model.width=256",
    "model.heads=4",
    "model.context=256",
    "model.mlp=1024",
    "model.activation=gelu",
    "model.norm=layer",
    "data.tokenizer=bytes",
    "data.batch=8",
    "data.micro_batches=1",
    "recipe.name=fp8lm-3",
];

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .sample_size(10)
        .configure_from_args();
    MODELS.iter().try_for_each(|model| measure(&mut criterion, model))?;
    criterion.final_summary();
    Ok(())
}

/// Measures steps, and prints what the fastest one reached.
fn measure(criterion: &mut Criterion, accumulate: &str) -> Result<()> {
    let sets = S.into_iter().map(String::from).chain([format!("recipe.accumulate={accumulate}")]);
    let plan = Plan::new(Config::load("quickstart", None, &sets.collect::<Vec<_>>())?)?;
    let (tokens, flops) = (plan.tokens_per_step(), flops(&plan));
    let device = Timed::new(Emulator::new(Options { threads: THREADS, ..Options::default() }));
    let mut trainer = Trainer::new(device.clone(), plan)?;
    let (mut peak, mut fastest) = (FmaPeak::new(), (Duration::MAX, Vec::new()));
    let mut step = || {
        peak.run();
        device.take();
        let start = Instant::now();
        trainer.step().expect("a step of the quickstart's data goes through");
        let elapsed = start.elapsed();
        if elapsed < fastest.0 {
            fastest = (elapsed, device.take());
        }
        elapsed
    };
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements(tokens));
    group.bench_function(format!("fp8lm-3/{accumulate}"), |bencher| {
        bencher.iter_custom(|steps| (0..steps).map(|_| step()).sum());
    });
    // A filter may have left this one out.
    if fastest.0 < Duration::MAX {
        let seconds = fastest.0.as_secs_f64();
        let share = flops / seconds / (peak.flops() * THREADS as f64);
        let rate = tokens as f64 / seconds;
        println!("fastest: {rate:.0} tokens/s, {share:.2} of the peak");
        print_kernels(&fastest.1, fastest.0);
    }
    Ok(())
}

/// Operations of a step's products with weights, forward and backward: six a weight and token.
fn flops(plan: &Plan) -> f64 {
    let model = plan.model();
    let weights = model.linear_parameters() + model.vocabulary * model.width;
    6.0 * weights as f64 * plan.tokens_per_step() as f64
}

fn print_kernels(kernels: &[(&str, KernelTime)], step: Duration) {
    let mut rest = step;
    for (kernel, KernelTime { launches, total }) in kernels {
        print_row(kernel, &launches.to_string(), *total, step);
        rest -= *total;
    }
    print_row("between launches", "", rest, step);
}

fn print_row(name: &str, launches: &str, time: Duration, step: Duration) {
    let (time, share) = (time.as_secs_f64() * 1e3, time.div_duration_f64(step));
    println!("{name:28}{launches:>5}{time:10.3} ms{share:8.3}");
}
