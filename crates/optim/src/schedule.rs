//! Learning-rate schedules.

use std::f64::consts::PI;

/// Linear warm-up, then a cosine down to a fraction of the peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The largest learning rate, reached at the end of the warm-up.
    pub peak: f64,
    /// The learning rate of the last step.
    pub floor: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps in all.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let last = self.steps.saturating_sub(1).max(self.warmup + 1);
        let progress = (step.min(last) - self.warmup) as f64 / (last - self.warmup) as f64;
        self.floor + (self.peak - self.floor) * 0.5 * (1.0 + libm::cos(PI * progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { peak: 1e-3, floor: 1e-4, warmup: 20, steps: 300 };

    #[test]
    fn it_warms_up_peaks_and_ends_at_the_floor() {
        assert_eq!(SCHEDULE.learning_rate(0), 1e-3 / 20.0);
        assert_eq!(SCHEDULE.learning_rate(19), 1e-3);
        assert_eq!(SCHEDULE.learning_rate(20), 1e-3);
        assert_eq!(SCHEDULE.learning_rate(299), 1e-4);
        assert_eq!(SCHEDULE.learning_rate(10_000), 1e-4);
    }

    #[test]
    fn it_never_rises_after_the_warmup() {
        for step in 20..299 {
            assert!(SCHEDULE.learning_rate(step) >= SCHEDULE.learning_rate(step + 1), "{step}");
        }
    }

    #[test]
    fn a_run_of_one_step_has_a_learning_rate() {
        let schedule = Schedule { warmup: 0, steps: 1, ..SCHEDULE };
        assert_eq!(schedule.learning_rate(0), 1e-3);
    }
}
