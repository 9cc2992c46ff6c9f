//! Sums of unit Gaussians, whose error is known well enough to check the machinery by.

use fp8lm_formats::{E4M3, philox::StochasticStream};

use super::{case::errors, reduction::Algorithm};

/// The root mean squared error of a sum of so many unit Gaussians in E4M3, against the exact sum of the same codes and
/// over the root of their number, which is what the sum is expected to be.
pub(super) fn rounding(ranks: usize, algorithm: Algorithm) -> f64 {
    let codes: Vec<Vec<E4M3>> = (0..ranks).map(|rank| draw(rank as u32)).collect();
    let (errors, _) = errors(&codes, &algorithm.sum(&codes));
    (errors / (ELEMENTS * ranks) as f64).sqrt()
}

/// Numbers that are the same on every machine.
fn draw(rank: u32) -> Vec<E4M3> {
    let mut words = StochasticStream { seed: 1, tensor: rank, draw: 0 }.words(0);
    let mut uniform = || f64::from(words.next().unwrap_or_default()) / 2f64.powi(32);
    // The sum of twelve uniform numbers is close to normal, and needs no elementary function.
    let mut normal = |_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
    (0..ELEMENTS).map(|element| E4M3::from_f64_saturating(normal(element))).collect()
}

const ELEMENTS: usize = 16_384;
