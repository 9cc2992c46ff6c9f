//! Matrix multiplication on the emulator in every model of accumulation, each run beside one of the
//! machine's peak: `cargo bench -p fp8lm-benches --bench gemm`, or with `-- f32/e4m3` for a part.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput};
use fp8lm_benches::peak::FmaPeak;
use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_formats::{E4M3, E5M2, Overflow};
use fp8lm_ops::{Accumulate, Layout, Operand, matmul, matmul_block_scaled, matmul_scaled};
use fp8lm_sim::{Emulator, Isa, Options};
use half::bf16;

use Accumulate::{Cublaslt, Deepgemm, F32 as Fma, Wgmma};
use DType::{BF16, E4M3 as E4, E5M2 as E5, F32};

/// m, n, k: a square, and a linear layer of 2048 tokens.
const SIZES: [[usize; 3]; 2] = [[1024, 1024, 1024], [2048, 3072, 768]];

/// A model, and the types of both operands.
const PRODUCTS: [(Accumulate, [DType; 2]); 11] = [
    (Fma, [E4, E4]),
    (Fma, [E5, E4]),
    (Fma, [BF16, BF16]),
    (Fma, [F32, F32]),
    (Wgmma, [E4, E4]),
    (Wgmma, [E5, E4]),
    (Wgmma, [BF16, BF16]),
    (Cublaslt, [E4, E4]),
    (Cublaslt, [E5, E4]),
    (Deepgemm, [E4, E4]),
    (Deepgemm, [E5, E4]),
];

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(600))
        .sample_size(10)
        .configure_from_args();
    for isa in Isa::available().filter(|isa| *isa != Isa::portable()) {
        let cases = PRODUCTS.iter().filter(|(model, _)| isa == Isa::best() || *model == Fma);
        for (model, types) in cases {
            measure(&mut criterion, 1, isa, *model, *types)?;
        }
    }
    measure(&mut criterion, 2, Isa::best(), Fma, [E4, E4])?;
    criterion.final_summary();
    Ok(())
}

/// Measures D = A Bᵀ in BF16, and prints what share of the peak the fastest launch reached.
fn measure(
    criterion: &mut Criterion,
    threads: usize,
    isa: Isa,
    model: Accumulate,
    types: [DType; 2],
) -> Result<()> {
    let emulator = Emulator::new(Options { threads, isa, ..Options::default() });
    let queue = Queue::new(Arc::new(emulator))?;
    let names = format!("{model:?}/{}*{}", types[0].name(), types[1].name()).to_lowercase();
    let mut group = criterion.benchmark_group(format!("{}/threads={threads}/{names}", isa.name()));
    for [m, n, k] in SIZES {
        let product = Product::new(&queue, model, types, [m, n, k])?;
        let (mut peak, mut fastest) = (FmaPeak::new(), Duration::MAX);
        let mut launch = || {
            peak.run();
            let start = Instant::now();
            product.launch(&queue).expect("operands that the model takes");
            let elapsed = start.elapsed();
            fastest = fastest.min(elapsed);
            elapsed
        };
        let flops = 2 * m * n * k;
        group.throughput(Throughput::Elements(flops as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{m}x{n}x{k}")), |bencher| {
            bencher.iter_custom(|launches| (0..launches).map(|_| launch()).sum());
        });
        // A filter may have left this one out.
        if fastest < Duration::MAX {
            let (rate, peak) = (flops as f64 / fastest.as_secs_f64() / 1e9, peak.flops() / 1e9);
            let share = rate / (peak * threads as f64);
            println!("fastest: {share:.3} of the peak, {rate:.1} of {peak:.1} GFLOP/s a thread");
        }
    }
    Ok(())
}

/// Operands of one product.
struct Product {
    model: Accumulate,
    a: Tensor,
    b: Tensor,
    /// Of a and of b, if the model scales.
    scale_invs: Option<[Tensor; 2]>,
}

impl Product {
    fn new(
        queue: &Queue,
        model: Accumulate,
        types: [DType; 2],
        [m, n, k]: [usize; 3],
    ) -> Result<Self> {
        let (a, b) = (operand(queue, types[0], [m, k])?, operand(queue, types[1], [n, k])?);
        let ones = |shape: [usize; 2]| operand(queue, F32, shape);
        let scale_invs = match (model, types) {
            (Deepgemm, _) => Some([ones([m, k / 128])?, ones([n / 128, k / 128])?]),
            (_, [F32 | BF16, _]) => None,
            _ => Some([ones([1, 1])?, ones([1, 1])?]),
        };
        Ok(Self { model, a, b, scale_invs })
    }

    fn launch(&self, queue: &Queue) -> Result<Tensor> {
        let Some([a_scale_inv, b_scale_inv]) = &self.scale_invs else {
            return matmul(queue, &self.a, &self.b, Layout::Nt, self.model, BF16);
        };
        let a = Operand { values: &self.a, scale_inv: a_scale_inv };
        let b = Operand { values: &self.b, scale_inv: b_scale_inv };
        match self.model {
            Deepgemm => matmul_block_scaled(queue, a, b, self.model, BF16),
            _ => matmul_scaled(queue, a, b, self.model, BF16),
        }
    }
}

/// Values between -1 and 1, none of them subnormal in its type.
fn operand(queue: &Queue, dtype: DType, shape: [usize; 2]) -> Result<Tensor> {
    let label = Label("benchmark");
    let values = (0..shape[0] * shape[1]).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0);
    match dtype {
        E4 => {
            let codes: Vec<E4M3> = values.map(|x| E4M3::from_f32(x, Overflow::Saturate)).collect();
            queue.upload(&codes, shape, label)
        }
        E5 => {
            let codes: Vec<E5M2> = values.map(|x| E5M2::from_f32(x, Overflow::Saturate)).collect();
            queue.upload(&codes, shape, label)
        }
        BF16 => queue.upload(&values.map(bf16::from_f32).collect::<Vec<_>>(), shape, label),
        _ => queue.upload(&values.collect::<Vec<_>>(), shape, label),
    }
}
