//! How fast the kernels are, against what the device can do.

use std::{
    io::{self, Write},
    time::Instant,
};

use anyhow::Result;
use fp8lm_conformance::{Case, Prepared, products, streaming};
use fp8lm_device::{DType, Label, Queue};
use fp8lm_trainer::text::align;

/// Prints each kernel's speed on tensors of about `bytes` bytes beside that of a copy, and of matrix products beside
/// their peak. A kernel that the device refuses stands there with its reason.
pub(super) fn report(queue: &Queue, bytes: usize) -> Result<()> {
    let copy = copy_speed(queue, bytes)?;
    let mut rows = vec![["kernel", "GB/s", "of the copy"].map(String::from)];
    rows.push(["copy".into(), format!("{:.0}", copy / 1e9), "1.00".into()]);
    for case in streaming(bytes) {
        rows.push(match speed(queue, &case, |launch| launch.bytes as f64) {
            Ok(speed) => [
                case.kernel().into(),
                format!("{:.0}", speed / 1e9),
                format!("{:.2}", speed / copy),
            ],
            Err(error) => refused(&case, &error),
        });
    }
    write!(io::stdout(), "{}", align(&rows))?;
    report_products(queue, bytes)
}

fn report_products(queue: &Queue, bytes: usize) -> Result<()> {
    let rows_of_square = 1 << ((bytes / 2).max(1).ilog2() / 2);
    let name = &queue.properties().name;
    let mut rows = vec![["product", "TFLOP/s", "of the peak"].map(String::from)];
    for case in products(rows_of_square) {
        let peak = peak(name, case.kernel());
        rows.push(match speed(queue, &case, |launch| launch.operations) {
            Ok(speed) => {
                let share = peak.map_or("-".into(), |peak| format!("{:.2}", speed / peak));
                [label(&case), format!("{:.1}", speed / 1e12), share]
            }
            Err(error) => refused(&case, &error),
        });
    }
    write!(io::stdout(), "{}", align(&rows))?;
    Ok(())
}

fn label(case: &Case) -> String {
    format!("{}, {}", case.kernel(), case.about())
}

fn refused(case: &Case, error: &anyhow::Error) -> [String; 3] {
    [case.kernel().into(), error.to_string(), String::new()]
}

/// Bytes read and written a second by a copy.
fn copy_speed(queue: &Queue, bytes: usize) -> Result<f64> {
    let alloc = || queue.alloc(DType::U8, bytes, Label("selftest"));
    let (from, to) = (alloc()?, alloc()?);
    let seconds = fastest(queue, || Ok(queue.copy(&from, &to)?))?;
    Ok(2.0 * bytes as f64 / seconds)
}

/// So much of what `work` counts a second.
fn speed(queue: &Queue, case: &Case, work: impl Fn(&Prepared) -> f64) -> Result<f64> {
    let prepared = case.prepare(queue)?;
    let seconds = fastest(queue, || Ok(queue.launch(prepared.launch.clone())?))?;
    Ok(work(&prepared) / seconds)
}

/// Seconds of one of several calls, in the fastest of several rounds, after a warm-up.
fn fastest(queue: &Queue, call: impl Fn() -> Result<()>) -> Result<f64> {
    call()?;
    queue.synchronize()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        (0..CALLS).try_for_each(|_| call())?;
        queue.synchronize()?;
        fastest = fastest.min(started.elapsed().as_secs_f64() / f64::from(CALLS));
    }
    Ok(fastest)
}

/// Dense operations a second of tensor cores, as NVIDIA's data sheet of the H100 SXM and of the H200 has them.
fn peak(device: &str, kernel: &str) -> Option<f64> {
    let hopper = ["H100", "H200"].iter().any(|name| device.contains(name));
    hopper.then_some(if kernel.contains("scaled") { 1979e12 } else { 989e12 })
}

const ROUNDS: u32 = 5;
const CALLS: u32 = 10;
