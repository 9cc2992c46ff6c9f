//! What Hopper's accumulation does to the error of an FP8 product, by length of the sum:
//!
//! ```text
//! cargo run --release -p fp8lm-benches --example hopper_accumulation -- [PICTURE.svg]
//! ```
//!
//! Operands are drawn in f32, scaled to E4M3's range, and cast. The error of a model is its result
//! against the exact product of the codes, so casting has no part in it; what casting itself costs
//! stands in a column of its own, against the product of the operands as drawn.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::{error::Error, sync::Arc};

use fp8lm_device::Queue;
use fp8lm_ops::Accumulate;
use fp8lm_sim::Emulator;

mod errors;
mod operand;
mod picture;

use errors::{Errors, product};
use operand::{Draw, Operand};

/// Lengths of the sums.
const LENGTHS: [usize; 7] = [128, 256, 512, 1024, 2048, 4096, 8192];
const DRAWS: [(&str, Draw); 2] = [("normal", |x| x), ("half-normal", f64::abs)];

fn main() -> Result<(), Box<dyn Error>> {
    let queue = Queue::new(Arc::new(Emulator::default()))?;
    let mut tables = Vec::new();
    for (name, draw) in DRAWS {
        let rows = LENGTHS.into_iter().map(|k| Row::measure(&queue, k, draw));
        tables.push((name, rows.collect::<fp8lm_device::Result<Vec<_>>>()?));
    }
    for (name, rows) in &tables {
        print(name, rows);
    }
    match std::env::args().nth(1) {
        Some(path) => picture::draw(&path, &tables),
        None => Ok(()),
    }
}

/// The errors of sums of one length.
struct Row {
    k: usize,
    f32: Errors,
    wgmma: Errors,
    promoted: Errors,
    /// Of the exact product of the codes, against that of the operands as drawn.
    casting: Errors,
}

impl Row {
    fn measure(queue: &Queue, k: usize, draw: Draw) -> fp8lm_device::Result<Self> {
        let [a, b] = [1, 2].map(|tensor| Operand::draw(tensor, k, draw));
        let exact = product(&a.codes(), &b.codes(), k);
        let errors = |model| -> fp8lm_device::Result<_> {
            Ok(Errors::of(&operand::multiply(queue, &a, &b, model)?, &exact))
        };
        Ok(Self {
            k,
            f32: errors(Accumulate::F32)?,
            wgmma: errors(Accumulate::Wgmma)?,
            promoted: errors(Accumulate::Cublaslt)?,
            casting: Errors::of(&exact, &product(&a.scaled(), &b.scaled(), k)),
        })
    }
}

fn print(name: &str, rows: &[Row]) {
    println!("\n{name}:\n");
    println!("| K | f32 | wgmma | promoted | bias of wgmma | of promoted | casting |");
    println!("|---|---|---|---|---|---|---|");
    for Row { k, f32, wgmma, promoted, casting } in rows {
        println!(
            "| {k} | {:.1e} | {:.1e} | {:.1e} | {:+.1e} | {:+.1e} | {:.1e} |",
            f32.relative,
            wgmma.relative,
            promoted.relative,
            wgmma.bias,
            promoted.bias,
            casting.relative,
        );
    }
}
