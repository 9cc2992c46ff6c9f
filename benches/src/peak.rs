//! The most multiplications and additions that one thread can do.

use std::{hint::black_box, time::Instant};

use fp8lm_sim::Isa;

/// The peak of one thread in f32: the best of the runs so far of independent chains that never
/// leave the registers. Run it between the work that is held against it, so that both have the same
/// machine.
///
/// Twelve vectors of eight hide the latency of four cycles of two units, and leave registers for
/// the operands. A run is shorter than a scheduler's slice, so that a busy machine does not lower
/// the best.
#[derive(Clone, Copy, Debug)]
pub struct FmaPeak {
    isa: Isa,
    seconds: f64,
}

impl FmaPeak {
    /// Of vectors as wide as AVX2's, or, without it, of what every machine has.
    pub fn new() -> Self {
        let isa = Isa::available().find(|isa| isa.name() == "avx2");
        Self { isa: isa.unwrap_or(Isa::portable()), seconds: f64::INFINITY }
    }

    /// Runs once more.
    pub fn run(&mut self) {
        let (a, b) = (black_box([0.5; LANES]), black_box([1.0; LANES]));
        let start = Instant::now();
        black_box(self.isa.run(
            #[inline(always)]
            || chains(a, b),
        ));
        self.seconds = self.seconds.min(start.elapsed().as_secs_f64());
    }

    /// Operations a second, a fused multiply-add counted as two.
    pub fn flops(&self) -> f64 {
        (2 * LANES * CHAINS * STEPS) as f64 / self.seconds
    }
}

impl Default for FmaPeak {
    fn default() -> Self {
        Self::new()
    }
}

#[inline(always)]
fn chains(a: [f32; LANES], b: [f32; LANES]) -> [[f32; LANES]; CHAINS] {
    let mut sums = [[0.0f32; LANES]; CHAINS];
    for _ in 0..STEPS {
        for sums in &mut sums {
            for lane in 0..LANES {
                sums[lane] = sums[lane].mul_add(a[lane], b[lane]);
            }
        }
    }
    sums
}

const LANES: usize = 8;
const CHAINS: usize = 12;
const STEPS: usize = 100_000;
