//! The rule by which a row equals the baseline, is worse or better, or diverges.

use anyhow::{Context, Result};

use crate::training::{Record, last_loss, mean};

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The mean is within the margin of the baseline's.
    Equal,
    /// It is below that.
    Better,
    /// It is above that.
    Worse,
    /// A run has a loss that is not finite, or ends above its start, or well above its lowest.
    Diverges,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Diverges => "diverges",
        }
    }
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Course {
    /// The training loss of the first step.
    pub(super) start: f64,
    /// The lowest validation loss.
    pub(super) lowest: f64,
    /// The last validation loss.
    pub(super) last: f64,
    /// Whether every loss is finite.
    pub(super) is_finite: bool,
    /// Steps without effect, because a gradient was not finite.
    pub(super) skipped: u64,
}

impl Course {
    pub(super) fn of(records: &[Record]) -> Result<Self> {
        let (first, end) = records.first().zip(records.last()).context("the run has no records")?;
        let validation = || records.iter().filter_map(|record| record.validation_loss);
        let mut losses = records.iter().map(|record| record.loss).chain(validation());
        Ok(Self {
            start: first.loss,
            lowest: validation().fold(f64::INFINITY, f64::min),
            last: last_loss(records)?,
            is_finite: losses.all(f64::is_finite),
            skipped: end.skipped,
        })
    }

    fn diverges(&self) -> bool {
        !self.is_finite || self.last > self.start || self.last > RISE * self.lowest
    }
}

/// What rows are held against: the baseline, and how far its seeds lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Yardstick {
    pub(super) mean: f64,
    /// From its best seed to its worst.
    pub(super) spread: f64,
}

impl Yardstick {
    pub(super) fn of(baseline: &[Course]) -> Self {
        let losses: Vec<_> = baseline.iter().map(|course| course.last).collect();
        let highest = losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
        Self { mean: mean(&losses), spread: highest - lowest }
    }

    /// How far from the baseline's mean a mean still equals it.
    pub(super) fn margin(&self) -> f64 {
        self.spread.max(TOLERANCE * self.mean)
    }

    pub(super) fn judge(&self, courses: &[Course]) -> Verdict {
        if courses.iter().any(Course::diverges) {
            return Verdict::Diverges;
        }
        match mean_loss(courses) - self.mean {
            over if over > self.margin() => Verdict::Worse,
            over if over < -self.margin() => Verdict::Better,
            _ => Verdict::Equal,
        }
    }
}

/// The mean of the last losses.
pub(super) fn mean_loss(courses: &[Course]) -> f64 {
    mean(&courses.iter().map(|course| course.last).collect::<Vec<_>>())
}

/// The least margin, as a fraction of the baseline's mean.
const TOLERANCE: f64 = 0.01;
/// How far above its lowest validation loss a run may end, as a factor.
const RISE: f64 = 1.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn ending_at(last: f64) -> Course {
        Course { start: 5.6, lowest: last, last, is_finite: true, skipped: 0 }
    }

    /// Mean 1.75, spread 0.0625.
    fn yardstick() -> Yardstick {
        Yardstick::of(&[ending_at(1.71875), ending_at(1.75), ending_at(1.78125)])
    }

    fn judge(losses: &[f64]) -> Verdict {
        yardstick().judge(&losses.iter().map(|&last| ending_at(last)).collect::<Vec<_>>())
    }

    #[test]
    fn what_lies_within_the_spread_of_the_baselines_seeds_is_equal() {
        assert_eq!(yardstick(), Yardstick { mean: 1.75, spread: 0.0625 });
        for equal in [1.6875, 1.75, 1.8125] {
            assert_eq!(judge(&[equal]), Verdict::Equal, "{equal}");
        }
        assert_eq!(judge(&[1.8125 + 1e-9]), Verdict::Worse);
        assert_eq!(judge(&[1.6875 - 1e-9]), Verdict::Better);
    }

    #[test]
    fn the_mean_of_all_seeds_counts() {
        assert_eq!(judge(&[1.5, 2.0, 1.75]), Verdict::Equal);
        assert_eq!(judge(&[1.75, 1.75, 2.0]), Verdict::Worse);
    }

    #[test]
    fn seeds_that_agree_leave_a_margin_of_one_percent() {
        let yardstick = Yardstick::of(&[ending_at(2.0)]);
        assert_eq!(yardstick.margin(), 0.02);
        assert_eq!(yardstick.judge(&[ending_at(2.0199)]), Verdict::Equal);
        assert_eq!(yardstick.judge(&[ending_at(2.0201)]), Verdict::Worse);
    }

    #[test]
    fn one_run_that_rises_or_is_not_finite_diverges() {
        let rises = Course { lowest: 1.6, last: 1.77, ..ending_at(1.6) };
        let above_start = Course { start: 1.7, ..ending_at(1.75) };
        let not_finite = Course { is_finite: false, ..ending_at(1.75) };
        for course in [rises, above_start, not_finite] {
            let verdict = yardstick().judge(&[ending_at(1.75), course, ending_at(1.75)]);
            assert_eq!(verdict, Verdict::Diverges, "{course:?}");
        }
        let settles = Course { lowest: 1.6, last: 1.75, ..ending_at(1.6) };
        assert_eq!(yardstick().judge(&[settles]), Verdict::Equal);
    }

    #[test]
    fn a_course_is_read_off_the_records() {
        let record =
            |step, loss, validation_loss| Record { step, loss, validation_loss, skipped: step };
        let mut records =
            vec![record(1, 5.5, None), record(2, 3.0, Some(2.0)), record(3, 2.5, Some(2.25))];
        let course = Course { start: 5.5, lowest: 2.0, last: 2.25, is_finite: true, skipped: 3 };
        assert_eq!(Course::of(&records).unwrap(), course);
        records[1].loss = f64::NAN;
        assert!(!Course::of(&records).unwrap().is_finite);
        records[2].validation_loss = None;
        assert!(Course::of(&records).is_err(), "a run that did not end has no course");
        assert!(Course::of(&[]).is_err());
    }
}
