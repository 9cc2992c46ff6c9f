//! How far results lie from what they should be.

/// Two figures, both relative to the exact results.
pub(super) struct Errors {
    /// The root of the mean squared error, over that of the exact results.
    pub(super) relative: f64,
    /// The mean error away from zero, over the mean magnitude: negative if results are too small.
    pub(super) bias: f64,
}

impl Errors {
    pub(super) fn of(got: &[f64], exact: &[f64]) -> Self {
        let pairs = || got.iter().zip(exact).map(|(got, exact)| (got - exact, *exact));
        let squares: f64 = pairs().map(|(error, _)| error * error).sum();
        let outward: f64 = pairs().map(|(error, exact)| error * exact.signum()).sum();
        Self {
            relative: (squares / exact.iter().map(|x| x * x).sum::<f64>()).sqrt(),
            bias: outward / exact.iter().map(|x| x.abs()).sum::<f64>(),
        }
    }
}

/// a bᵀ in f64. Of codes it is exact: sums of multiples of 2^-18 that stay below 2^35.
pub(super) fn product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    a.chunks(k).flat_map(|a| b.chunks(k).map(move |b| dot(a, b))).collect()
}
