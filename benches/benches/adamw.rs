//! AdamW of FP8-LM on 50 million parameters, one thread, against two limits of the machine's
//! memory taken between its steps: `cargo bench -p fp8lm-benches --bench adamw`.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, AdamW, Phases, ScaleRule, State};
use fp8lm_sim::{Emulator, Isa, Options};

const PARAMETERS: usize = 50_000_000;
const LABEL: Label = Label("benchmark");

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(10)
        .configure_from_args();
    let queue = Queue::new(Arc::new(Emulator::new(Options { threads: 1, ..Options::default() })))?;
    let mut limits = Limits::new(&queue)?;
    for grad in [DType::E4M3, DType::F32] {
        for master in [DType::F32, DType::F16] {
            measure(&mut criterion, &queue, &Optimizer::new(&queue, grad, master)?, &mut limits);
        }
    }
    criterion.final_summary();
    Ok(())
}

/// Measures steps with both limits between them, and prints what the fastest of each make.
fn measure(criterion: &mut Criterion, queue: &Queue, optimizer: &Optimizer, limits: &mut Limits) {
    let mut fastest = [Duration::MAX; 3];
    let mut step = || {
        let times = [
            timed(|| optimizer.step(queue)),
            timed(|| limits.copy(queue)),
            timed(|| limits.update()),
        ];
        fastest = std::array::from_fn(|i| fastest[i].min(times[i]));
        times[0]
    };
    let mut group = criterion.benchmark_group("adamw");
    group.throughput(Throughput::Elements(PARAMETERS as u64));
    group.bench_function(optimizer.name(), |bencher| {
        bencher.iter_custom(|steps| (0..steps).map(|_| step()).sum());
    });
    // A filter may have left this one out.
    if fastest[0] < Duration::MAX {
        let [step, copy, update] = fastest.map(|time| time.as_secs_f64() * 1e3);
        println!(
            "fastest: {step:.1} ms, {:.2} memcpys ({copy:.1} ms), {:.2} updates in place ({update:.1} ms)",
            step / copy,
            step / update,
        );
    }
}

fn timed<R>(work: impl FnOnce() -> Result<R>) -> Duration {
    let start = Instant::now();
    work().expect("every launch fits the table of kernels");
    start.elapsed()
}

/// What memory allows for as many numbers in f32.
struct Limits {
    from: Tensor,
    to: Tensor,
    values: Vec<f32>,
}

impl Limits {
    fn new(queue: &Queue) -> Result<Self> {
        let tensor = || queue.upload(&vec![1.0f32; PARAMETERS], PARAMETERS, LABEL);
        Ok(Self { from: tensor()?, to: tensor()?, values: vec![1.0; PARAMETERS] })
    }

    /// A memcpy.
    fn copy(&self, queue: &Queue) -> Result<()> {
        queue.copy(&self.from, &self.to)
    }

    /// The simplest optimizer: each value is read and written where it stands.
    fn update(&mut self) -> Result<()> {
        let values = self.values.as_mut_slice();
        Isa::best().run(
            #[inline(always)]
            || values.iter_mut().for_each(|value| *value = *value * 0.5 + 0.25),
        );
        Ok(())
    }
}

/// The state of one tensor: first moment in E4M3, second in F16, all scales powers of two.
struct Optimizer {
    grad: Tensor,
    master: Tensor,
    m: Tensor,
    v: Tensor,
    /// Of master, m and v.
    scales: [Tensor; 3],
    one: Tensor,
    corrections: Tensor,
    skip: Tensor,
    amaxes: Tensor,
}

impl Optimizer {
    fn new(queue: &Queue, grad: DType, master: DType) -> Result<Self> {
        let state = |dtype| {
            let tensor = queue.alloc(dtype, PARAMETERS, LABEL)?;
            ops::fill(queue, &tensor, 0.0)?;
            Ok::<_, fp8lm_device::Error>(tensor)
        };
        let one = || queue.upload(&[1.0f32], 1, LABEL);
        Ok(Self {
            grad: ops::cast(queue, &gradient(queue)?, grad)?,
            master: state(master)?,
            m: state(DType::E4M3)?,
            v: state(DType::F16)?,
            scales: [one()?, one()?, one()?],
            one: one()?,
            corrections: queue.upload(&[0.5f32, 0.25], 2, LABEL)?,
            skip: queue.upload(&[0u32], 1, LABEL)?,
            amaxes: queue.alloc(DType::F32, 3, LABEL)?,
        })
    }

    fn name(&self) -> String {
        format!("gradient={}, master={}", self.grad.dtype(), self.master.dtype())
    }

    fn step(&self, queue: &Queue) -> Result<()> {
        let state = |values, index: usize, rule| State { values, scale: &self.scales[index], rule };
        let rule = match self.master.dtype() {
            DType::F32 => ScaleRule::None,
            _ => ScaleRule::Pow2,
        };
        let launch = AdamW {
            grad: &self.grad,
            grad_scale_inv: &self.one,
            clip: &self.one,
            corrections: &self.corrections,
            skip: &self.skip,
            master: state(&self.master, 0, rule),
            m: state(&self.m, 1, ScaleRule::Pow2),
            v: state(&self.v, 2, ScaleRule::Pow2),
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            decay: 0.9999,
            amaxes: &self.amaxes,
            phases: Phases::Both,
        };
        ops::adamw(queue, &launch)
    }
}

/// Values of both signs over eight binades.
fn gradient(queue: &Queue) -> Result<Tensor> {
    let hash = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let value = |h: u64| ((h >> 40) as f32 / 8_388_608.0 - 1.0) * 2f32.powi((h % 8) as i32 - 4);
    let values: Vec<f32> = (0..PARAMETERS).map(|i| value(hash(i))).collect();
    queue.upload(&values, PARAMETERS, LABEL)
}
