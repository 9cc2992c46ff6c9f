//! Stochastic rounding from its definition, in f64.

use fp8lm_device::DType;
use fp8lm_ops::StochasticStream;

/// The neighbour of `x` that a random word chooses: the upper one for a share of all words that is
/// the place of abs(x) between the two. FP8 saturates; beyond the largest f16 or BF16 lies 2^16 or
/// infinity.
pub(crate) fn rounded_at_random(dtype: DType, x: f32, word: u32) -> f32 {
    let (fraction_bits, smallest_exponent, largest) = match dtype {
        DType::BF16 => (7, -126, f64::INFINITY),
        DType::F16 => (10, -14, f64::INFINITY),
        DType::E4M3 => (3, -6, 448.0),
        DType::E5M2 => (2, -14, 57_344.0),
        _ => return x,
    };
    let abs = f64::from(x.abs()).min(largest);
    if !x.is_finite() || x == 0.0 {
        return x;
    }
    let exponent = (abs.to_bits() >> 52) as i32 - 1023;
    let step = 2f64.powi(exponent.max(smallest_exponent) - fraction_bits);
    let below = (abs / step).floor() * step;
    let place = (abs - below) / step;
    // A result so far below the smallest normal value takes none of the word's bits.
    let lost = 23 - fraction_bits + (smallest_exponent - exponent.max(-126)).max(0);
    let up = lost < 32 && f64::from(word) >= 2f64.powi(32) * (1.0 - place);
    let rounded = if up { below + step } else { below };
    (rounded as f32).copysign(x)
}

/// Each by the word of its place in the stream.
pub(crate) fn all_rounded_at_random(
    dtype: DType,
    values: &[f32],
    stream: &StochasticStream,
    first: u64,
) -> Vec<f32> {
    let places = first..;
    let rounded =
        values.iter().zip(places).map(|(x, i)| rounded_at_random(dtype, *x, stream.word(i)));
    rounded.collect()
}
