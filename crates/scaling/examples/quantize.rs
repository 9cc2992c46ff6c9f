//! Quantises a tensor to FP8 and shows what the cast did.
//!
//! `cargo run -p fp8lm-scaling --example quantize`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::sync::Arc;

use fp8lm_device::{DType, Label, Queue};
use fp8lm_ops as ops;
use fp8lm_scaling::{Cast, Pass, Quantizer, ScaleRule, Scaling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
    let values: Vec<f32> = (1..=8).map(|i| 1e-3 * f32::powi(-3.0, i)).collect();
    let x = queue.upload(&values, [2, 4], Label("x"))?;

    let cast = Cast::tensor(DType::E4M3, Scaling::JustInTime, ScaleRule::Pow2);
    let mut quantizer = Quantizer::new(&queue, cast)?;
    let quantized = quantizer.quantize(&queue, &x, Pass::Train)?;

    let y = queue.alloc(DType::F32, [2, 4], Label("y"))?;
    ops::dequantize(&queue, &quantized.values, &quantized.scale_inv, &y)?;
    for (x, y) in values.iter().zip(queue.download::<f32>(&y)?) {
        println!("{x:>12.6} -> {y:>12.6}  ({:+.2} %)", 100.0 * (y / x - 1.0));
    }
    let reading = quantizer.meter().read(&queue)?.ok_or("nothing was cast")?;
    println!(
        "scale {}, {} of {} underflowed",
        reading.scales[0], reading.underflowed, reading.elements
    );
    Ok(())
}
