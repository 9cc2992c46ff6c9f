//! The forward and backward pass of a micro-batch of the quickstart, with activations kept and made again:
//! `cargo bench -p fp8lm-benches --bench recompute`.

use std::{error::Error, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use fp8lm_device::{Label, Queue};
use fp8lm_model::{Gpt, ModelConfig, Recompute, Sequences};
use fp8lm_scaling::{Pass, recipe};
use fp8lm_sim::{Emulator, Options};

const THREADS: usize = 2;
const RECIPES: [&str; 3] = ["bf16", "fp8lm-3", "deepseek-v3"];
const SEQUENCES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5))
        .sample_size(10)
        .configure_from_args();
    RECIPES.iter().try_for_each(|name| measure(&mut criterion, name))?;
    criterion.final_summary();
    Ok(())
}

fn measure(criterion: &mut Criterion, name: &str) -> Result<(), Box<dyn Error>> {
    let device = Emulator::new(Options { threads: THREADS, ..Options::default() });
    let queue = Queue::new(Arc::new(device))?;
    let config = ModelConfig::default();
    let mut gpt = Gpt::new(&queue, &config, &recipe(name)?, 1)?;
    gpt.begin_step(&queue, 0)?;
    let tokens = SEQUENCES * config.context;
    let text: Vec<u32> = (0..=tokens as u32).map(|i| i * 7919 % 256).collect();
    let upload = |text: &[u32]| queue.upload(text, tokens, Label("batch"));
    let (inputs, targets) = (upload(&text[..tokens])?, upload(&text[1..])?);
    let sequences = Sequences { tokens: inputs, targets, context: config.context };
    let mut group = criterion.benchmark_group("recompute");
    group.throughput(Throughput::Elements(tokens as u64));
    for recompute in Recompute::ALL {
        gpt.set_recompute(recompute);
        group.bench_function(BenchmarkId::new(name, recompute), |bencher| {
            bencher.iter(|| pass(&queue, &mut gpt, &sequences));
        });
    }
    group.finish();
    Ok(())
}

fn pass(queue: &Queue, gpt: &mut Gpt, sequences: &Sequences) {
    let (_, stash) = gpt.forward(queue, sequences, 1e-3, Pass::Train).expect(FITS);
    gpt.backward(queue, stash, &mut |parameter| parameter.gradient_mut().fold(queue)).expect(FITS);
    queue.synchronize().expect(FITS);
}

const FITS: &str = "a micro-batch of the quickstart fits its model";
