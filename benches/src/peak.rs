//! The most multiplications and additions that one thread can do.

use std::{array, hint::black_box, time::Instant};

use fp8lm_sim::Isa;

/// Operations in f32 per second of one thread, a fused multiply-add counted as two: the best of
/// many runs of independent chains that never leave the registers.
///
/// Twelve vectors of eight hide the latency of four cycles of two units, and leave registers for
/// the operands. A run is shorter than a scheduler's slice, so that a busy machine does not lower
/// the best.
pub fn fma_flops(isa: Isa) -> f64 {
    let best = (0..RUNS).map(|_| seconds(isa)).fold(f64::INFINITY, f64::min);
    (2 * LANES * CHAINS * STEPS) as f64 / best
}

fn seconds(isa: Isa) -> f64 {
    let (a, b) = (black_box([0.5; LANES]), black_box([1.0; LANES]));
    let start = Instant::now();
    black_box(isa.run(
        #[inline(always)]
        || chains(a, b),
    ));
    start.elapsed().as_secs_f64()
}

#[inline(always)]
fn chains(a: [f32; LANES], b: [f32; LANES]) -> [[f32; LANES]; CHAINS] {
    let mut sums = [[0.0f32; LANES]; CHAINS];
    for _ in 0..STEPS {
        for sums in &mut sums {
            *sums = array::from_fn(|lane| sums[lane].mul_add(a[lane], b[lane]));
        }
    }
    sums
}

const LANES: usize = 8;
const CHAINS: usize = 12;
const STEPS: usize = 100_000;
const RUNS: usize = 200;
