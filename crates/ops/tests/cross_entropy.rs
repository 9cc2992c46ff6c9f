//! Cross-entropy: bits against the specification, its gradient against finite differences.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_ops::{
    Agreed, Share, cross_entropy, cross_entropy_gradient, cross_entropy_maxima, cross_entropy_sums,
};
use fp8lm_sim::math::{exp, log};
use support::{
    DRAWS, TEST, TYPES, assert_bits, assert_close, differences, normal, queue, queues, round,
    stored, tensor, values, words,
};

/// Tiny, ragged in lanes, ordinary, and more than one chunk of a canonical sum.
const SHAPES: [[usize; 2]; 6] = [[1, 1], [5, 7], [3, 129], [9, 256], [9, 1000], [1, 65_700]];
const SCALE: f32 = 0.3;

#[test]
fn cross_entropy_has_the_bits_of_the_specification() {
    for (device, queue) in queues() {
        for (shape, dtype) in SHAPES.iter().flat_map(|shape| TYPES.map(|dtype| (*shape, dtype))) {
            let [rows, cols] = shape;
            let targets: Vec<u32> =
                words(2, rows).map(|word| (word % cols as u64) as u32).collect();
            for draw in DRAWS {
                let logits = stored(dtype, &draw(1, rows * cols));
                let (loss, dlogits) = oracle(dtype, &logits, &targets, cols);
                let logits = tensor(&queue, dtype, &logits, shape);
                let targets = queue.upload(&targets, rows, TEST).unwrap();
                let (got, gradient) = cross_entropy(&queue, &logits, &targets, SCALE).unwrap();
                let name = |what| format!("{what} {dtype} {shape:?} on {device}, at ");
                assert_bits(&name("loss"), &values(&queue, &got), &loss, rows);
                assert_bits(&name("dlogits"), &values(&queue, &gradient), &dlogits, shape);
            }
        }
    }
}

#[test]
fn the_steps_of_a_group_have_the_bits_of_the_whole_on_one_member() {
    for (device, queue) in queues() {
        for (shape, dtype) in SHAPES.iter().flat_map(|shape| TYPES.map(|dtype| (*shape, dtype))) {
            let [rows, cols] = shape;
            // Now and then beyond the vocabulary.
            let targets: Vec<u32> =
                words(2, rows).map(|word| (word % (cols as u64 + 1)) as u32).collect();
            for draw in DRAWS {
                let logits = tensor(&queue, dtype, &stored(dtype, &draw(1, rows * cols)), shape);
                let targets = queue.upload(&targets, rows, TEST).unwrap();
                let want = cross_entropy(&queue, &logits, &targets, SCALE).unwrap();
                let got = by_steps(&queue, &logits, &targets).unwrap();
                let name = |what| format!("{what} {dtype} {shape:?} on {device}, at ");
                let values = |x| values(&queue, x);
                assert_bits(&name("loss"), &values(&got.0), &values(&want.0), rows);
                assert_bits(&name("dlogits"), &values(&got.1), &values(&want.1), shape);
            }
        }
    }
}

fn by_steps(queue: &Queue, logits: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    let share = Share::WHOLE;
    let maxima = cross_entropy_maxima(queue, logits)?;
    let sums = cross_entropy_sums(queue, logits, targets, &maxima, share)?;
    let agreed = Agreed { maxima: &maxima, sums: &sums };
    cross_entropy_gradient(queue, logits, targets, agreed, (share, SCALE))
}

fn oracle(dtype: DType, logits: &[f32], targets: &[u32], cols: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut loss, mut dlogits) = (vec![], vec![]);
    for (x, target) in logits.chunks(cols).zip(targets) {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let e: Vec<f32> = x.iter().map(|x| exp(*x - max)).collect();
        let sum = canonical_sum(&e);
        loss.push(round(DType::F32, (max + log(sum)) - x[*target as usize]));
        dlogits.extend(e.iter().enumerate().map(|(j, e)| {
            let one = if j == *target as usize { 1.0 } else { 0.0 };
            round(dtype, (e / sum - one) * SCALE)
        }));
    }
    (loss, dlogits)
}

fn canonical_sum(values: &[f32]) -> f32 {
    if values.len() > 65_536 {
        return canonical_sum(&values.chunks(65_536).map(canonical_sum).collect::<Vec<_>>());
    }
    let mut lanes = [0.0; 128];
    values.iter().enumerate().for_each(|(i, value)| lanes[i % 128] += value);
    for width in [64, 32, 16, 8, 4, 2, 1] {
        (0..width).for_each(|lane| lanes[lane] += lanes[lane + width]);
    }
    lanes[0]
}

/// The bounds, in units of u = 2^-24, for logits within 2 sqrt(3): x - max below 7 rounds once,
/// which moves its exponential by 7; exp is off by 2 (0.87 ulp). The sum of 11 adds 8, so it is
/// off by 17, the quotient by 27 of at most 1, the difference and the product by 1 each: 29
/// times the scale. The loss: log of the sum by 17 + 2 * 6 (0.87 ulp of at most 6), then two
/// roundings of at most 8: below 50. Central differences of step 1e-5 add less than 1e-8.
#[test]
fn the_gradient_is_that_of_the_formula() {
    let (rows, cols, u) = (4, 11, 2f64.powi(-24));
    let x = normal(1, rows * cols);
    let targets = [3u32, 0, 10, 7];
    let queue = queue();
    let logits = tensor(&queue, DType::F32, &x, [rows, cols]);
    let targets_on = queue.upload(&targets, rows, TEST).unwrap();
    let (loss, dlogits) = cross_entropy(&queue, &logits, &targets_on, SCALE).unwrap();

    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let losses = |x: &[f64]| -> Vec<f64> {
        let row = |(x, target): (&[f64], &u32)| {
            x.iter().map(|x| x.exp()).sum::<f64>().ln() - x[*target as usize]
        };
        x.chunks(cols).zip(&targets).map(row).collect()
    };
    assert_close("loss", &values(&queue, &loss), &losses(&x), |_| 50.0 * u, rows);
    let want = differences(&x, |x| f64::from(SCALE) * losses(x).iter().sum::<f64>());
    let bound = 29.0 * u * f64::from(SCALE) + 1e-8;
    assert_close("dlogits", &values(&queue, &dlogits), &want, |_| bound, [rows, cols]);
}

#[test]
fn a_target_outside_the_vocabulary_poisons_its_row_alone() {
    let queue = queue();
    for dtype in TYPES {
        let logits = tensor(&queue, dtype, &[1.0; 6], [2, 3]);
        let targets = queue.upload(&[3u32, 2], 2, TEST).unwrap();
        let (loss, dlogits) = cross_entropy(&queue, &logits, &targets, 1.0).unwrap();
        let is_nan = |result| values(&queue, result).iter().map(|x| x.is_nan()).collect::<Vec<_>>();
        assert_eq!(is_nan(&loss), [true, false]);
        assert_eq!(is_nan(&dlogits), [true, true, true, false, false, false]);
        assert_eq!(values(&queue, &loss)[0].to_bits(), 0x7FFF_FFFF);
    }
}

#[test]
fn another_number_of_targets_is_refused() {
    let queue = queue();
    let logits = tensor(&queue, DType::F32, &[1.0; 6], [2, 3]);
    let targets = queue.upload(&[0u32; 3], 3, TEST).unwrap();
    let error = cross_entropy(&queue, &logits, &targets, 1.0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cross_entropy: `targets` must be of 2 elements, and it is u32[3]"
    );
}
