//! Initial weights, from a seed: the same on every machine.

use std::f64::consts::TAU;

use fp8lm_formats::philox::philox4x32_10;

/// `count` values of a normal distribution with this standard deviation: Box-Muller in f64 on
/// Philox words, rounded once. `tensor` tells the model's tensors apart.
pub(crate) fn normal(seed: u64, tensor: u32, count: usize, deviation: f64) -> Vec<f32> {
    (0..count).map(|index| (deviation * gaussian(seed, tensor, index as u64)) as f32).collect()
}

fn gaussian(seed: u64, tensor: u32, index: u64) -> f64 {
    let words =
        philox4x32_10([low(index), high(index), tensor, INITIALISATION], [low(seed), high(seed)]);
    let uniform = |word: u32| (f64::from(word) + 0.5) / TWO_TO_32;
    let radius = libm::sqrt(-2.0 * libm::log(uniform(words[0])));
    radius * libm::cos(TAU * uniform(words[1]))
}

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

const TWO_TO_32: f64 = 4_294_967_296.0;
/// The draw of initial weights, beyond any that a training step makes.
const INITIALISATION: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_mean_and_deviation_of_a_normal_distribution() {
        let n = 100_000;
        let values = normal(7, 3, n, 0.02);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let variance = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
        // Five standard errors of the mean and of the variance.
        assert!(mean.abs() < 5.0 * 0.02 / (n as f64).sqrt(), "{mean}");
        let error = (variance / 4e-4 - 1.0).abs();
        assert!(error < 5.0 * (2.0 / n as f64).sqrt(), "{variance}");
    }

    #[test]
    fn seeds_and_tensors_give_other_values() {
        assert_eq!(normal(1, 0, 8, 1.0), normal(1, 0, 8, 1.0));
        assert_ne!(normal(1, 0, 8, 1.0), normal(2, 0, 8, 1.0));
        assert_ne!(normal(1, 0, 8, 1.0), normal(1, 1, 8, 1.0));
    }
}
