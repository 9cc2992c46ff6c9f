//! Distance from the exact value, in units of the last place.

/// How far `got` is from `want`, in the spacing of f32 at `want`. Infinite where one is NaN and
/// the other is not, or where an Inf is not what `want` rounds to or would round to next.
pub(crate) fn ulps(got: f32, want: f64) -> f64 {
    let nearest = want as f32;
    if nearest.to_bits() == got.to_bits() || (nearest.is_nan() && got.is_nan()) {
        return if got.is_finite() { (f64::from(got) - want).abs() / spacing(want) } else { 0.0 };
    }
    let got = if got == f32::INFINITY { 2f64.powi(128) } else { f64::from(got) };
    let error = (got - want).abs() / spacing(want);
    if error.is_finite() { error } else { f64::INFINITY }
}

fn spacing(value: f64) -> f64 {
    let exponent = ((value.to_bits() >> 52) & 0x7FF) as i32 - 1023;
    2f64.powi(exponent.clamp(-126, 127) - 23)
}
