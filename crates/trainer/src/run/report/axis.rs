//! Axes: where a value lies, and where ticks stand.

/// How values are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm. Zero has a place of its own, below the smallest positive value.
    Log,
}

/// A range of values along a line from 0 to 1.
#[derive(Debug)]
pub(super) struct Axis {
    scale: Scale,
    /// Ends of the range: values, or their base-10 logarithms.
    low: f64,
    high: f64,
    has_zero: bool,
}

impl Axis {
    /// The axis that holds the finite values; none if there are none.
    pub(super) fn fit(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.filter(|value| is_on(scale, *value)).collect();
        let has_zero = scale == Scale::Log && values.contains(&0.0);
        let spaced = values.iter().map(|value| spaced(scale, *value)).filter(|at| at.is_finite());
        let (low, high) = spaced.fold(EMPTY, |(low, high), at| (at.min(low), at.max(high)));
        let (low, high) = match (low <= high, has_zero) {
            (true, false) => (low, high),
            (true, true) => (low.floor() - 1.0, high),
            (false, true) => (-9.0, -8.0),
            (false, false) => return None,
        };
        Some(Self { scale, low, high, has_zero }.widened())
    }

    /// The axis with some air at both ends.
    pub(super) fn padded(self) -> Self {
        let air = 0.04 * (self.high - self.low);
        let low = if self.has_zero { self.low } else { self.low - air };
        Self { low, high: self.high + air, ..self }
    }

    /// Where a value lies between 0 and 1; none if it has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let at = match self.has_zero && value == 0.0 {
            true => self.low,
            false => spaced(self.scale, value),
        };
        let is_placed = is_on(self.scale, value) && at.is_finite();
        is_placed.then(|| (at - self.low) / (self.high - self.low))
    }

    /// Places and labels of ticks.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let ticks = match self.scale {
            Scale::Linear => even_ticks(self.low, self.high),
            Scale::Log if self.high - self.low < 1.0 => {
                even_ticks(10_f64.powf(self.low), 10_f64.powf(self.high))
            }
            Scale::Log => self.decades(),
        };
        let placed =
            ticks.into_iter().filter_map(|(value, label)| Some((self.place(value)?, label)));
        placed.filter(|(at, _)| (0.0..=1.0).contains(at)).collect()
    }

    /// A range of one value gets room around it.
    fn widened(self) -> Self {
        let room = match (self.low < self.high, self.scale) {
            (true, _) => 0.0,
            (false, Scale::Log) => 0.5,
            (false, Scale::Linear) => (0.05 * self.low.abs()).max(1e-9),
        };
        Self { low: self.low - room, high: self.high + room, ..self }
    }

    /// Powers of ten, thinned if there are many, with twice and five times each if there are few.
    fn decades(&self) -> Vec<(f64, String)> {
        let first = self.low.floor() as i32 + i32::from(self.has_zero);
        let last = self.high.floor() as i32;
        let stride = ((last - first).max(0) / 7 + 1) as usize;
        let factors = if last - first < 3 { &[1, 2, 5][..] } else { &[1] };
        let zero = self.has_zero.then(|| (0.0, "0".to_owned()));
        let powers = (first..=last).step_by(stride);
        let ticks = powers.flat_map(|power| factors.iter().map(move |&n| decade(n, power)));
        zero.into_iter().chain(ticks).collect()
    }
}

fn is_on(scale: Scale, value: f64) -> bool {
    value.is_finite() && (scale == Scale::Linear || value >= 0.0)
}

fn spaced(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
    }
}

/// Between three and eight multiples of 1, 2 or 5 times a power of ten.
fn even_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / 7.0;
    let power = rough.log10().floor();
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * 10_f64.powf(power) >= rough);
    let step = factor.unwrap_or(10.0) * 10_f64.powf(power);
    let first = (low / step).ceil();
    let count = (high / step).floor() - first;
    let multiples = (0..=count.clamp(0.0, 20.0) as u32).map(|n| (first + f64::from(n)) * step);
    multiples.map(|value| (value, even(value, step))).collect()
}

/// A multiple of `step` with as many digits as it needs.
fn even(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    match (value, step) {
        (0.0, _) => "0".to_owned(),
        (_, 1000.0..) => format!("{}k", value / 1000.0),
        (_, ..1e-4) => format!("{value:.1e}"),
        _ => format!("{value:.decimals$}"),
    }
}

/// `factor` times a power of ten, as far as that is easily read as a plain number.
fn decade(factor: i32, power: i32) -> (f64, String) {
    let value = f64::from(factor) * 10_f64.powi(power);
    let label = match (factor, power) {
        (_, -3..0) => format!("{value:.*}", -power as usize),
        (_, 0..4) => value.to_string(),
        (1, _) => format!("10{}", power.to_string().chars().map(superscript).collect::<String>()),
        _ => format!("{factor}e{power}"),
    };
    (value, label)
}

fn superscript(char: char) -> char {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    char.to_digit(10).map_or('⁻', |digit| DIGITS[digit as usize])
}

/// The range of no values.
const EMPTY: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis::fit(scale, values.iter().copied()).unwrap();
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let fifties = ["50", "100", "150", "200", "250", "300"];
        assert_eq!(labels(Scale::Linear, &[1.0, 300.0]), fifties);
        assert_eq!(
            labels(Scale::Linear, &[0.0, 1e-3]),
            ["0", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]
        );
        assert_eq!(labels(Scale::Linear, &[0.0, 1e5]), ["0", "20k", "40k", "60k", "80k", "100k"]);
        assert_eq!(labels(Scale::Linear, &[-3.0, 2.0]), ["-3", "-2", "-1", "0", "1", "2"]);
        assert_eq!(labels(Scale::Log, &[1e-5, 2.0]), ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]);
        assert_eq!(labels(Scale::Log, &[0.04, 3.0]), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(labels(Scale::Log, &[1e-6, 2e-5]), ["10⁻⁶", "2e-6", "5e-6", "10⁻⁵", "2e-5"]);
        assert_eq!(labels(Scale::Log, &[1.0, 1.5]), ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]);
    }

    #[test]
    fn zero_has_a_place_on_a_log_axis_and_what_is_not_finite_has_none() {
        let axis = Axis::fit(Scale::Log, [0.0, 1e-4, 1e-2, f64::NAN].into_iter()).unwrap();
        assert_eq!(axis.place(0.0), Some(0.0));
        assert_eq!(axis.place(1e-2), Some(1.0));
        assert_eq!(axis.ticks()[0], (0.0, "0".to_owned()));
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(axis.place(value), None, "{value}");
        }
        assert!(Axis::fit(Scale::Linear, [f64::NAN].into_iter()).is_none());
    }

    #[test]
    fn a_single_value_lies_in_the_middle() {
        for (scale, value) in [(Scale::Linear, 0.0), (Scale::Linear, 5.0), (Scale::Log, 5.0)] {
            let axis = Axis::fit(scale, [value].into_iter()).unwrap();
            let at = axis.place(value).unwrap();
            assert!((at - 0.5).abs() < 1e-6, "{scale:?} {value}: {at}");
        }
    }
}
