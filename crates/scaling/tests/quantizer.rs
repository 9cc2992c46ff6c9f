//! Delayed and just-in-time scales, and what they leave behind.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{DType, Label, Queue, Tensor};
use fp8lm_scaling::{Cast, Pass, Quantizer, ScaleRule, Scaling};
use fp8lm_sim::Emulator;

fn queue() -> Queue {
    Queue::new(Arc::new(Emulator::default())).unwrap()
}

fn cast(scaling: Scaling) -> Cast {
    Cast::tensor(DType::E4M3, scaling, ScaleRule::Pow2)
}

/// A tensor whose amax is `amax`.
fn tensor(queue: &Queue, amax: f32) -> Tensor {
    queue.upload(&[0.25 * amax, -amax, 0.5 * amax, 0.0], [2, 2], Label("x")).unwrap()
}

/// What a cast of a tensor with this amax multiplies by.
fn scale(quantizer: &mut Quantizer, queue: &Queue, amax: f32, pass: Pass) -> f32 {
    let quantized = quantizer.quantize(queue, &tensor(queue, amax), pass).unwrap();
    1.0 / queue.download::<f32>(&quantized.scale_inv).unwrap()[0]
}

#[test]
fn just_in_time_follows_each_tensor() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, cast(Scaling::JustInTime)).unwrap();
    for (amax, expected) in [(448.0, 1.0), (1.0, 256.0), (7.0, 64.0), (0.0, 1.0)] {
        assert_eq!(scale(&mut quantizer, &queue, amax, Pass::Train), expected, "amax {amax}");
        quantizer.end_step(&queue).unwrap();
    }
}

#[test]
fn delayed_holds_the_largest_amax_of_its_window() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, cast(Scaling::Delayed(2))).unwrap();
    // (amax of the step, scale of the step): the first step is just in time, then the larger of
    // the two steps before counts.
    let steps = [(7.0, 64.0), (448.0, 64.0), (1.0, 1.0), (1.0, 1.0), (1.0, 256.0)];
    for (step, (amax, expected)) in steps.into_iter().enumerate() {
        assert_eq!(scale(&mut quantizer, &queue, amax, Pass::Train), expected, "step {step}");
        quantizer.end_step(&queue).unwrap();
    }
}

#[test]
fn a_step_holds_one_scale_for_all_micro_batches() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, cast(Scaling::Delayed(1))).unwrap();
    scale(&mut quantizer, &queue, 7.0, Pass::Train);
    quantizer.end_step(&queue).unwrap();
    for amax in [448.0, 1.0, 3.0] {
        assert_eq!(scale(&mut quantizer, &queue, amax, Pass::Train), 64.0);
    }
    quantizer.end_step(&queue).unwrap();
    // The largest of the step's amaxes, not the last.
    assert_eq!(scale(&mut quantizer, &queue, 1.0, Pass::Train), 1.0);
}

#[test]
fn an_amax_that_is_not_finite_does_not_enter_the_window() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, cast(Scaling::Delayed(2))).unwrap();
    for amax in [7.0, f32::INFINITY] {
        scale(&mut quantizer, &queue, amax, Pass::Train);
        quantizer.end_step(&queue).unwrap();
    }
    assert_eq!(scale(&mut quantizer, &queue, 1.0, Pass::Train), 64.0);
}

#[test]
fn a_pass_that_looks_or_comes_again_leaves_no_trace() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, cast(Scaling::Delayed(4))).unwrap();
    scale(&mut quantizer, &queue, 7.0, Pass::Train);
    scale(&mut quantizer, &queue, 448.0, Pass::Evaluate);
    scale(&mut quantizer, &queue, 448.0, Pass::Recompute);
    quantizer.end_step(&queue).unwrap();
    assert_eq!(scale(&mut quantizer, &queue, 1.0, Pass::Evaluate), 64.0);
    assert_eq!(quantizer.meter().read(&queue).unwrap().unwrap().elements, 4);
}

#[test]
fn a_step_that_ended_still_tells_its_own_scale() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, cast(Scaling::Delayed(1))).unwrap();
    for (amax, expected) in [(7.0, 64.0), (448.0, 64.0), (1.0, 1.0)] {
        scale(&mut quantizer, &queue, amax, Pass::Train);
        quantizer.end_step(&queue).unwrap();
        let reading = quantizer.meter().read(&queue).unwrap().unwrap();
        assert_eq!(reading.scales, [expected]);
    }
}

#[test]
fn counters_tell_saturated_from_underflowed_and_reset() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, cast(Scaling::Delayed(1))).unwrap();
    scale(&mut quantizer, &queue, 448.0, Pass::Train);
    quantizer.end_step(&queue).unwrap();
    quantizer.meter().reset(&queue).unwrap();
    // Under a scale of 1: beyond the maximum, at it, half the smallest subnormal, just above it.
    let x = [448.1f32, 448.0, 0.000_976_562_5, 0.000_976_7];
    let x = queue.upload(&x, [2, 2], Label("x")).unwrap();
    quantizer.quantize(&queue, &x, Pass::Train).unwrap();
    let reading = quantizer.meter().read(&queue).unwrap().unwrap();
    assert_eq!((reading.saturated, reading.underflowed, reading.elements), (1, 1, 4));
    quantizer.meter().reset(&queue).unwrap();
    let reading = quantizer.meter().read(&queue).unwrap().unwrap();
    assert_eq!((reading.saturated, reading.underflowed, reading.elements), (0, 0, 0));
}

#[test]
fn a_restored_quantizer_goes_on_with_the_same_scale() {
    let queue = queue();
    let mut first = Quantizer::new(&queue, cast(Scaling::Delayed(3))).unwrap();
    for amax in [7.0, 100.0] {
        scale(&mut first, &queue, amax, Pass::Train);
        first.end_step(&queue).unwrap();
    }
    let mut second = Quantizer::new(&queue, cast(Scaling::Delayed(3))).unwrap();
    for ((name, from), (_, to)) in first.state().into_iter().zip(second.state()) {
        assert_eq!(from.shape(), to.shape(), "{name}");
        queue.copy(from, to).unwrap();
    }
    second.restore(&queue).unwrap();
    assert_eq!(scale(&mut second, &queue, 1.0, Pass::Train), 4.0);
}
