//! Gradients in FP8: micro-batches, head-room, automatic scaling.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{DType, Label, Queue};
use fp8lm_formats::E4M3;
use fp8lm_scaling::{Accumulation, Format, Gradient, GradientFormat, HeadRoom, Noise, Share};
use fp8lm_sim::Emulator;

const N: usize = 4;

fn queue() -> Queue {
    Queue::new(Arc::new(Emulator::default())).unwrap()
}

fn gradient(queue: &Queue, accumulation: Accumulation, head_room: HeadRoom) -> Gradient {
    let format = GradientFormat { format: Format::pow2(DType::E4M3), head_room, accumulation };
    Gradient::new(queue, format, N, Label("gradient")).unwrap()
}

fn step(gradient: &mut Gradient, queue: &Queue, micro_batches: &[[f32; N]]) -> Vec<f32> {
    gradient.begin(queue).unwrap();
    for values in micro_batches {
        gradient.add(queue, queue.upload(values, N, Label("dw")).unwrap()).unwrap();
    }
    gradient.finish(queue).unwrap();
    let scale_inv = queue.download::<f32>(gradient.scale_inv()).unwrap()[0];
    let codes = queue.download::<E4M3>(gradient.result()).unwrap();
    codes.into_iter().map(|code| code.to_f32() * scale_inv).collect()
}

/// The grid that a value of this size lies on under a scale made for `amax`: 3 bits below its
/// leading one.
fn cast(value: f32, amax: f32) -> f32 {
    let scale = 2f32.powi((448.0 / amax).log2().floor() as i32);
    E4M3::from_f32_saturating(value * scale).to_f32() / scale
}

#[test]
fn native_accumulation_rounds_after_each_micro_batch() {
    let queue = queue();
    let mut gradient = gradient(&queue, Accumulation::Native, HeadRoom::Post);
    let batches = [[1.0, 0.3, -0.7, 4.0], [0.5, 0.33, 0.01, 5.5]];
    let got = step(&mut gradient, &queue, &batches);
    for i in 0..N {
        let first = cast(batches[0][i], 4.0);
        // The largest sum is 4 + 5.5.
        assert_eq!(got[i], cast(first + batches[1][i], 9.5), "element {i}");
    }
}

#[test]
fn accumulation_in_f32_rounds_once() {
    let queue = queue();
    let mut gradient = gradient(&queue, Accumulation::F32, HeadRoom::Post);
    let batches = [[1.0, 0.3, -0.7, 4.0], [0.5, 0.33, 0.01, 5.5]];
    let got = step(&mut gradient, &queue, &batches);
    for i in 0..N {
        assert_eq!(got[i], cast(batches[0][i] + batches[1][i], 9.5), "element {i}");
    }
}

#[test]
fn a_new_step_forgets_the_last() {
    let queue = queue();
    for accumulation in [Accumulation::Native, Accumulation::F32] {
        let mut gradient = gradient(&queue, accumulation, HeadRoom::Post);
        step(&mut gradient, &queue, &[[448.0; N]]);
        assert_eq!(step(&mut gradient, &queue, &[[2.0; N]]), [2.0; N]);
    }
}

#[test]
fn a_step_without_micro_batches_is_zero_and_leaves_mu_alone() {
    let queue = queue();
    let mut gradient = gradient(&queue, Accumulation::Native, HeadRoom::Auto);
    step(&mut gradient, &queue, &[[448.0; N]]);
    assert_eq!(step(&mut gradient, &queue, &[]), [0.0; N]);
    let go = queue.upload(&[0u32], 1, Label("skip")).unwrap();
    gradient.adapt(&queue, &go).unwrap();
    assert_eq!(queue.download::<f32>(gradient.mu()).unwrap(), [1.0]);
}

#[test]
fn mu_grows_until_something_saturates_and_then_halves() {
    let queue = queue();
    let mut gradient = gradient(&queue, Accumulation::Native, HeadRoom::Auto);
    let go = queue.upload(&[0u32], 1, Label("skip")).unwrap();
    let mu = |gradient: &Gradient| queue.download::<f32>(gradient.mu()).unwrap()[0];
    let growth = 2f64.powf(1e-3) as f32;
    // 448 is the format's maximum: at mu = 1 it is met exactly, beyond it is exceeded.
    step(&mut gradient, &queue, &[[448.0, 1.0, 1.0, 1.0]]);
    gradient.adapt(&queue, &go).unwrap();
    assert_eq!(mu(&gradient), growth);
    let got = step(&mut gradient, &queue, &[[448.0, 1.0, 1.0, 1.0]]);
    assert!(got[0] < 448.0, "{} does not saturate", got[0]);
    gradient.adapt(&queue, &go).unwrap();
    assert_eq!(mu(&gradient), growth / 2.0);
}

#[test]
fn a_skipped_step_leaves_mu_alone() {
    let queue = queue();
    let mut gradient = gradient(&queue, Accumulation::Native, HeadRoom::Auto);
    let skip = queue.upload(&[1u32], 1, Label("skip")).unwrap();
    step(&mut gradient, &queue, &[[f32::NAN; N]]);
    gradient.adapt(&queue, &skip).unwrap();
    assert_eq!(queue.download::<f32>(gradient.mu()).unwrap(), [1.0]);
}

#[test]
fn a_micro_batch_that_is_not_finite_is_remembered() {
    let queue = queue();
    let mut gradient = gradient(&queue, Accumulation::Native, HeadRoom::Auto);
    step(&mut gradient, &queue, &[[f32::INFINITY, 0.0, 0.0, 0.0], [1.0; N]]);
    assert_eq!(queue.download::<f32>(gradient.amax()).unwrap(), [f32::INFINITY]);
}

/// Ranks that rounded alike would be wrong together.
#[test]
fn ranks_round_stochastically_each_by_words_of_its_own() {
    let queue = queue();
    let values = [0.3f32; N];
    let rounded = |place: (usize, usize)| {
        let mut gradient = gradient(&queue, Accumulation::Native, HeadRoom::Post);
        gradient.share(&queue, Share::among(place.0, place.1)).unwrap();
        gradient.set_noise(Noise { seed: 1, tensor: 2, step: 3 });
        let steps =
            [values, values].map(|_| step(&mut gradient, &queue, &[[448.0, 0.3, 0.3, 0.3]]));
        // A step begins anew with the words of its first cast.
        assert_eq!(steps[0], steps[1]);
        steps[0].clone()
    };
    let ranks: Vec<_> = (0..16).map(|rank| rounded((rank, 16))).collect();
    assert_eq!(
        rounded((0, 1)),
        rounded((0, 16)),
        "the first cast of the first rank is that of one"
    );
    let distinct = ranks.iter().filter(|other| **other != ranks[0]).count();
    assert!(distinct > 4, "of 15 ranks {distinct} rounded otherwise than the first: {ranks:?}");
}

/// A sum is as long as one cast, however many there are: of 100,000 codes two are more than 1e-5.
#[test]
fn mu_heeds_a_sum_alike_after_any_number_of_casts() {
    const LENGTH: usize = 100_000;
    let queue = queue();
    let go = queue.upload(&[0u32], 1, Label("skip")).unwrap();
    let growth = 2f64.powf(1e-3) as f32;
    for micro_batches in [1, 4] {
        for (codes, expected) in [(1u64, growth), (2, 0.5)] {
            let (head_room, accumulation) = (HeadRoom::Auto, Accumulation::Native);
            let format =
                GradientFormat { format: Format::pow2(DType::E4M3), head_room, accumulation };
            let mut gradient = Gradient::new(&queue, format, LENGTH, Label("gradient")).unwrap();
            gradient.share(&queue, Share::among(0, 3)).unwrap();
            gradient.begin(&queue).unwrap();
            for _ in 0..micro_batches {
                let dw = queue.upload(&vec![1.0f32; LENGTH], LENGTH, Label("dw")).unwrap();
                gradient.add(&queue, dw).unwrap();
            }
            gradient.finish(&queue).unwrap();
            let [_, largest] = gradient.counters();
            queue.write(&[codes], largest).unwrap();
            gradient.adapt(&queue, &go).unwrap();
            let mu = queue.download::<f32>(gradient.mu()).unwrap()[0];
            assert_eq!(mu, expected, "{codes} codes after {micro_batches} micro-batches");
        }
    }
}
