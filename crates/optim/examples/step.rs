//! Minimises a quadratic with AdamW whose first moment is kept in FP8, whose second moment and
//! master weights in scaled FP16.
//!
//! `cargo run -p fp8lm-optim --example step`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, DType, Label, Queue};
use fp8lm_optim::{AdamW, Options};
use fp8lm_scaling::{LINEAR, Noise, Parameter, ParameterSpec, Shard, recipe};

const TARGET: [f32; 4] = [0.25, -1.0, 3.0, 0.0];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
    let precision = recipe("fp8lm-2")?.linears;
    println!("{} bytes a parameter", precision.bytes_per_parameter());

    let (name, shape) = ("w".to_owned(), [4].into());
    let noise = Noise::default();
    let spec = ParameterSpec {
        name,
        shape,
        shard: Shard::WHOLE,
        precision,
        labels: &LINEAR,
        decays: false,
        noise,
    };
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    let mut w = Parameter::new(&queue, spec, &alone, &[0.0; 4])?;
    let mut adamw = AdamW::new(&queue, Options::default(), &[&w])?;

    for step in 0..400 {
        let values = queue.download::<f32>(&w.weight(&queue, DType::F32)?)?;
        let gradient: Vec<f32> = values.iter().zip(TARGET).map(|(w, t)| w - t).collect();
        if step % 80 == 0 {
            println!("step {step:>3}: {values:.4?}");
        }
        w.gradient_mut().begin(&queue)?;
        w.gradient_mut().add(&queue, queue.upload(&gradient, 4, Label("gradient"))?)?;
        adamw.step(&queue, &mut [&mut w], 0.02)?;
    }
    println!("target:   {TARGET:.4?}");
    Ok(())
}
