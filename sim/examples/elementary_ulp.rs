//! The largest error of every elementary function over all 2^32 inputs, against the f64 of the
//!
//! ```text
//! cargo run --release -p fp8lm-sim --example elementary_ulp
//! ```
//! standard library, in units of the last place. Takes some minutes.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::thread;

use fp8lm_sim::{Isa, math};

#[path = "../src/math/ulp.rs"]
mod ulp;

fn main() {
    println!("function  largest error  at");
    report("exp", math::exp, f64::exp);
    report("log", math::log, f64::ln);
    report("tanh", math::tanh, f64::tanh);
}

#[inline(always)]
fn report(name: &str, f: impl Fn(f32) -> f32 + Sync, exact: impl Fn(f64) -> f64 + Sync) {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let share = (1u64 << 32).div_ceil(threads);
    let (f, exact) = (&f, &exact);
    let (error, bits) = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let range = part * share..((part + 1) * share).min(1 << 32);
                scope.spawn(move || {
                    Isa::best().run(
                        #[inline(always)]
                        || worst(range, f, exact),
                    )
                })
            })
            .collect();
        let parts = parts.into_iter().map(|part| part.join().expect("no thread panics"));
        parts.max_by(|a, b| a.0.total_cmp(&b.0)).expect("there is a thread")
    });
    println!("{name:8}  {error:9.6} ulp  {:e} = {bits:#010x}", f32::from_bits(bits));
}

#[inline(always)]
fn worst(
    range: std::ops::Range<u64>,
    f: impl Fn(f32) -> f32,
    exact: impl Fn(f64) -> f64,
) -> (f64, u32) {
    let mut worst = (0.0, 0);
    for bits in range {
        let x = f32::from_bits(bits as u32);
        let error = ulp::ulps(f(x), exact(f64::from(x)));
        if error > worst.0 {
            worst = (error, bits as u32);
        }
    }
    worst
}
