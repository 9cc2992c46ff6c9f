//! Matrix multiplication on the emulator in every operand type, against the peak of the machine:
//! `cargo bench -p fp8lm-benches --bench gemm`.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use fp8lm_benches::peak;
use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_formats::{E4M3, E5M2, Overflow};
use fp8lm_ops::{Accumulate, Layout, matmul};
use fp8lm_sim::{Emulator, Isa, Options};
use half::bf16;

/// m, n, k: a square, and the queries, keys and values of a small model's 2048 tokens.
const SIZES: [[usize; 3]; 2] = [[1024, 1024, 1024], [2048, 768, 256]];
const TYPES: [DType; 4] = [DType::F32, DType::BF16, DType::E4M3, DType::E5M2];

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let peak = peak::fma_flops(Isa::best());
    println!("peak of one thread: {:.1} GFLOP/s", peak / 1e9);
    for threads in [1, 2] {
        let emulator = Emulator::new(Options { threads, ..Options::default() });
        let queue = Queue::new(Arc::new(emulator))?;
        let machine = Machine { queue, threads, peak: peak * threads as f64 };
        for size in SIZES {
            for dtype in TYPES {
                machine.measure(&mut criterion, size, dtype)?;
            }
        }
    }
    criterion.final_summary();
    Ok(())
}

struct Machine {
    queue: Queue,
    threads: usize,
    /// Of all threads.
    peak: f64,
}

impl Machine {
    /// Measures D = A Bᵀ in BF16, and prints what share of the peak the fastest launch reached.
    fn measure(&self, criterion: &mut Criterion, size: [usize; 3], dtype: DType) -> Result<()> {
        let [m, n, k] = size;
        let a = operand(&self.queue, dtype, [m, k])?;
        let b = operand(&self.queue, dtype, [n, k])?;
        let product = || matmul(&self.queue, &a, &b, Layout::Nt, Accumulate::F32, DType::BF16);
        product()?;
        let flops = 2 * m * n * k;
        let mut fastest = Duration::MAX;
        let mut launch = || {
            let start = Instant::now();
            product().expect("the first launch went through");
            let elapsed = start.elapsed();
            fastest = fastest.min(elapsed);
            elapsed
        };
        let mut group = criterion.benchmark_group(format!("gemm/threads={}", self.threads));
        group.throughput(Throughput::Elements(flops as u64));
        group.bench_function(BenchmarkId::new(dtype.name(), format!("{m}x{n}x{k}")), |bencher| {
            bencher.iter_custom(|launches| (0..launches).map(|_| launch()).sum());
        });
        // A filter may have left this one out.
        if fastest < Duration::MAX {
            let rate = flops as f64 / fastest.as_secs_f64();
            println!("fastest: {:.1} GFLOP/s, {:.2} of peak", rate / 1e9, rate / self.peak);
        }
        Ok(())
    }
}

/// Values between -1 and 1, none of them subnormal in its type.
fn operand(queue: &Queue, dtype: DType, shape: [usize; 2]) -> Result<Tensor> {
    let label = Label("benchmark");
    let values = (0..shape[0] * shape[1]).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0);
    match dtype {
        DType::E4M3 => {
            let codes: Vec<E4M3> = values.map(|x| E4M3::from_f32(x, Overflow::Saturate)).collect();
            queue.upload(&codes, shape, label)
        }
        DType::E5M2 => {
            let codes: Vec<E5M2> = values.map(|x| E5M2::from_f32(x, Overflow::Saturate)).collect();
            queue.upload(&codes, shape, label)
        }
        DType::BF16 => queue.upload(&values.map(bf16::from_f32).collect::<Vec<_>>(), shape, label),
        _ => queue.upload(&values.collect::<Vec<_>>(), shape, label),
    }
}
