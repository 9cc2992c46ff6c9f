//! The cast of gradients under a scale that ranks share.

use fp8lm_formats::{E4M3, Overflow};

/// What ranks hand to the reduction.
pub(super) struct Cast {
    pub(super) codes: Vec<Vec<E4M3>>,
    /// What multiplied before the cast.
    pub(super) scale: f32,
    /// Elements beyond the largest of E4M3 before the cast.
    pub(super) saturated: u64,
    /// Elements that were not 0 before the cast and are after it.
    pub(super) underflowed: u64,
}

impl Cast {
    pub(super) fn new(ranks: &[Vec<f32>], scale: f32) -> Self {
        let codes: Vec<_> = ranks.iter().map(|gradient| encode(gradient, scale)).collect();
        let underflowed = |(gradient, codes): (&Vec<f32>, &Vec<E4M3>)| {
            count(gradient.iter().zip(codes), |(x, code)| *x != 0.0 && code.is_zero())
        };
        Self {
            scale,
            saturated: saturated(ranks, scale),
            underflowed: ranks.iter().zip(&codes).map(underflowed).sum(),
            codes,
        }
    }
}

/// Elements beyond the largest of E4M3 under this scale.
pub(super) fn saturated(ranks: &[Vec<f32>], scale: f32) -> u64 {
    let is_beyond = |x: &f32| (x * scale).abs() > E4M3::MAX_F32;
    ranks.iter().map(|gradient| count(gradient.iter(), is_beyond)).sum()
}

/// The power of two at or below what brings `amax` to the largest of E4M3.
pub(super) fn pow2_scale(amax: f32) -> f32 {
    if amax == 0.0 || !amax.is_finite() {
        return 1.0;
    }
    let exponent = (E4M3::MAX_F32 / amax).to_bits() & f32::INFINITY.to_bits();
    f32::from_bits(exponent).clamp(2f32.powi(-126), 2f32.powi(127))
}

pub(super) fn encode(x: &[f32], scale: f32) -> Vec<E4M3> {
    let mut codes = vec![E4M3::ZERO; x.len()];
    E4M3::encode_slice(x, scale, &mut codes, Overflow::Saturate);
    codes
}

pub(super) fn count<T>(items: impl Iterator<Item = T>, is_counted: impl Fn(T) -> bool) -> u64 {
    items.map(|item| u64::from(is_counted(item))).sum()
}
